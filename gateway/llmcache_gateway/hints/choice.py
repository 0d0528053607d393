"""Which places of a request are marked: those that the configuration names, or those whose prefix came before."""

from collections.abc import Callable, Sequence
from typing import Final

from llmcache_gateway.config.hints import HintPoint
from llmcache_gateway.hints.prompt import Place, Prompt

EDGE: Final = 8
"""How many places from the first and from the last one of the messages are looked at: prompts begin alike, and a
conversation goes on at its end. What lies between in a long one was an end before, or is none."""

BYTES_PER_TOKEN: Final = 2
"""No tokenizer makes more tokens than one for so many bytes, but of the oddest texts: what has fewer bytes than that
for the shortest prefix that a provider keeps is not worth a mark."""

_ALIKE: Final = {"developer": "system"}
"""Roles that are called otherwise by some APIs."""


def named(prompt: Prompt, points: Sequence[HintPoint]) -> list[Place]:
    """Return the places that points name, in the points' order; of a point that this request has no place for, none."""
    found = [_named(prompt, point) for point in points]
    return list(dict.fromkeys(place for place in found if place is not None))


def observed(prompt: Prompt, seen: Callable[[bytes], bool], minimum_tokens: int) -> list[Place]:
    """Return the places to mark by what came before: the longest prefix that did, and the longest before the messages.

    The one brings what a conversation has so far, the other what all conversations have in common.
    """
    worth = [place for place in watched(prompt) if place.size >= minimum_tokens * BYTES_PER_TOKEN]
    repeated = [place for place in worth if seen(place.prefix)]
    before = [place for place in repeated if place.location != "message"]
    return list(dict.fromkeys([*before[-1:], *repeated[-1:]]))


def watched(prompt: Prompt) -> list[Place]:
    """Return the places whose prefixes are remembered: the ends of tools and system prompt, and some of the messages'.

    In a message each place counts: a document may be asked many questions in one message.
    """
    before = [place for place in prompt.places if place.location != "message" and place.last]
    within = [place for place in prompt.places if place.location == "message"]
    return [*before, *(within if len(within) <= 2 * EDGE else [*within[:EDGE], *within[-EDGE:]])]


def stable(prompt: Prompt) -> Place | None:
    """Return the end of what requests have in common: of the system prompt, of the tools, or of the first message."""
    before = [place for place in prompt.places if place.location != "message"]
    return before[-1] if before else next((place for place in prompt.places if place.last), None)


def _named(prompt: Prompt, point: HintPoint) -> Place | None:
    ends = [place for place in prompt.places if place.last]
    if point.location != "message":
        return next((place for place in reversed(ends) if place.location == point.location), None)
    role = point.role and _ALIKE.get(point.role, point.role)
    numbers = [at for at, one in enumerate(prompt.roles) if role is None or _ALIKE.get(one, one) == role]
    if role == "system" and not numbers:
        return _named(prompt, HintPoint(location="system"))
    index = -1 if point.index is None else point.index
    if not -len(numbers) <= index < len(numbers):
        return None
    return next((place for place in ends if place.message == numbers[index]), None)
