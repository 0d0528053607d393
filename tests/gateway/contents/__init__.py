"""Cached contents."""
