"""Requests of every kind that clients send, and what providers answer: a module for each API.

A new API adds its module here; test_corpus.py asks all of them.
"""

from typing import Final

from tests.gateway.corpus import bedrock, chat, completions, gemini, messages, responses, shaped
from tests.gateway.corpus.case import Case

CASES: Final[tuple[Case, ...]] = (
    *chat.CASES,
    *completions.CASES,
    *responses.CASES,
    *messages.CASES,
    *gemini.CASES,
    *bedrock.CASES,
    *shaped.CASES,
)
