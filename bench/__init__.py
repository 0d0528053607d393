"""Measurements: the gateway beside others, in one run on one machine."""
