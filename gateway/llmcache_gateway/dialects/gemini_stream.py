"""Google's streamed content: putting the pieces together into one answer.

Format: the types of Google's SDK (google-genai 3.6). Each event is an answer of its own: new parts of each candidate,
and what is known so far of the rest; usage counts are totals. No event is the last by its kind: a stream ends when
every candidate has a `finishReason`, or the prompt was blocked. What a piece can't be put into exactly is refused,
never dropped: what is put together is stored for clients that don't stream.
"""

from collections.abc import Mapping
from typing import Any, Final

from llmcache_gateway.plainjson import loads
from llmcache_gateway.sse import event_data

_LATEST: Final = frozenset({"finishReason", "finishMessage", "safetyRatings", "tokenCount", "avgLogprobs"})
"""Members of a candidate that are said anew: the last is the one that holds."""

_LISTS: Final = frozenset({"citationMetadata", "logprobsResult"})
"""Members of a candidate whose lists come in pieces."""

_TEXT: Final = frozenset({"text", "thought"})
"""Members of a part whose text may go on in the next. One that has more, such as a signature, stays by itself."""

_CALL_IN_PIECES: Final = frozenset({"partialArgs", "willContinue"})


def assemble(blocks: list[bytes]) -> dict[str, Any]:
    """Return the answer that a stream's event blocks make; ValueError when they make none."""
    answer: dict[str, Any] = {}
    candidates: dict[int, dict[str, Any]] = {}
    try:
        for block in blocks:
            data = event_data(block)
            if data is None:
                continue
            piece = loads(data)
            if "candidates" in piece:
                answer.setdefault("candidates", [])  # stands where it came first
            for candidate in piece.pop("candidates", None) or ():
                index = candidate.get("index", 0)
                _add_candidate(candidates.setdefault(index, {}), candidate)
            for name, value in piece.items():
                _add_member(answer, name, value, latest=False)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a stream of pieces of content: {error!r}") from error
    if not answer:
        raise ValueError("the stream holds no answer")
    if candidates:
        answer["candidates"] = [candidates[index] for index in sorted(candidates)]
    return answer


def is_finished(answer: Mapping[str, Any]) -> bool:
    """Say whether nothing more comes to an answer: each of its candidates, or the prompt, has met its end."""
    candidates = answer.get("candidates")
    if candidates:
        return all(candidate.get("finishReason") for candidate in candidates)
    feedback = answer.get("promptFeedback")
    return isinstance(feedback, dict) and bool(feedback.get("blockReason"))


def _add_candidate(candidate: dict[str, Any], piece: dict[str, Any]) -> None:
    for name, value in piece.items():
        if name == "content" and isinstance(candidate.get(name), dict):
            _add_content(candidate[name], value)
        elif name == "content" and isinstance(value, dict):
            candidate[name] = {}
            _add_content(candidate[name], value)
        elif name in _LISTS and isinstance(candidate.get(name), dict):
            _add_lists(candidate[name], value)
        else:
            _add_member(candidate, name, value, latest=name in _LATEST)


def _add_content(content: dict[str, Any], piece: dict[str, Any]) -> None:
    for name, value in piece.items():
        if name != "parts":
            _add_member(content, name, value, latest=False)
            continue
        parts = content.setdefault(name, [])
        for part in value:
            _add_part(parts, part)


def _add_part(parts: list[dict[str, Any]], part: dict[str, Any]) -> None:
    call = part.get("functionCall")
    if isinstance(call, dict) and not _CALL_IN_PIECES.isdisjoint(call):
        raise ValueError("a function call comes in pieces, and nothing says how they go together")
    last = parts[-1] if parts else None
    goes_on = (
        last is not None
        and isinstance(part.get("text"), str)
        and isinstance(last.get("text"), str)
        and part.keys() == last.keys()
        and part.keys() <= _TEXT
        and part.get("thought") == last.get("thought")
    )
    if goes_on and last is not None:
        last["text"] += part["text"]
    else:
        parts.append(part)


def _add_lists(target: dict[str, Any], piece: dict[str, Any]) -> None:
    for name, value in piece.items():
        if isinstance(target.get(name), list) and isinstance(value, list):
            target[name] += [item for item in value if name not in _REPEATED or item not in target[name]]
        else:
            _add_member(target, name, value, latest=False)


_REPEATED: Final = frozenset({"citations", "citationSources"})
"""Lists that may say again what they have said."""


def _add_member(target: dict[str, Any], name: str, value: Any, *, latest: bool) -> None:
    """Add what a piece says; ValueError when it says something else than one before and nothing tells what holds."""
    old = target.get(name)
    if name == "usageMetadata" and isinstance(old, dict) and isinstance(value, dict):
        target[name] = old | value
    elif old is None or latest or old == value:
        target[name] = value
    elif value is not None:
        raise ValueError(f"{name!r} is said twice, and not the same")
