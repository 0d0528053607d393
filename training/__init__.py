"""Makes the models that come with the gateway: static vectors and the pair verifier. See README.md."""
