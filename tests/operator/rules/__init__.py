"""Manifests for the rules of an LLMCache, and what becomes of them."""
