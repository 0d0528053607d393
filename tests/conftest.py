"""Settings of all tests that need no cluster."""

from hypothesis import settings

# How long an example takes is the machine's affair: a busy one would fail tests whose subject is right.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
