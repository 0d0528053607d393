"""Streams of a Redis by which replicas tell each other something, as scripts, whose results come as they are."""

from typing import Final

NEWS: Final = "return redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])"
"""Given the name of a stream, `(` and the last number that was read, and how many to read."""

TELL: Final = "return redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', ARGV[2], ARGV[3])"
"""Given the name of a stream, about how many it is to hold, and what is told: a word, and its value."""
