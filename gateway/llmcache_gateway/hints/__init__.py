"""Provider hints: what is added to a request so that the provider keeps its prefix."""
