"""Cached contents: the explicit prompt caches of Gemini and Vertex AI, made, renewed and deleted by the gateways."""
