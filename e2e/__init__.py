"""End-to-end tests: real pods on a real Kubernetes."""
