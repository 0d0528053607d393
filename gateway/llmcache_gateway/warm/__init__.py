"""`llmcache-gateway warm`: asks a gateway the requests of a list, so that their answers stand in its cache."""
