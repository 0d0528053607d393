"""OpenAI embeddings: `POST /v1/embeddings`.

Format: OpenAI's API reference as its SDK's types have it (openai 3.54). There is no stream. A request with many
inputs is cut into requests of one input each, cached each for itself, so that only those that are missing go
upstream:

    parts = dialect.split(request)                      one Request per input; None: treat the request as a whole
    body = dialect.missing_body(request, positions)     what to send upstream for the missing ones
    answers = dialect.part_answers(answer, missing)     its answer, cut into one per missing part
    answer = dialect.join(answers)                      one answer per position, put together

A part has the key of a request that asks for this input alone, and its answer is what that request would get.
Equal inputs have equal keys: `positions` names the first of them, and `join` is given its answer for each.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NoReturn

import msgspec

from llmcache_gateway.dialects.base import STORE, Request, Verdict, refuse
from llmcache_gateway.dialects.counts import added, shared
from llmcache_gateway.dialects.openai_errors import error_body
from llmcache_gateway.dialects.openai_shaped import OpenAIShaped
from llmcache_gateway.dialects.reading import names_remote, read_request
from llmcache_gateway.plainjson import RawMembers, raw_members

IGNORED: Final = frozenset({"user", "safety_identifier", "metadata", "service_tier"})
"""Top-level members that don't change the answer: who asks, and how it is billed."""

_raw_items = msgspec.json.Decoder(list[msgspec.Raw])


class OpenAIEmbeddings(OpenAIShaped):
    """The dialect of embeddings."""

    name = "openai-embeddings"
    below = "/embeddings"
    speakers = frozenset({"openai", "azure", "openrouter", "mistral", "xai", "groq", "fireworks"})
    uncounted = IGNORED

    def parse(self, members: Any, body: bytes, target: str = "") -> Request:
        request = read_request(members, body)
        return Request(model=request.model, stream=False, members=members, body=body)

    def counted(self, request: Request) -> dict[str, Any]:
        counted = {name: value for name, value in request.members.items() if name not in self.ignored}
        if counted.get("encoding_format") == "float":
            del counted["encoding_format"]  # the default
        inputs = _inputs(counted.get("input"))
        if inputs is not None and len(inputs) == 1:
            counted["input"] = inputs[0]  # a list of one input is the same as the input
        return counted

    def bypass(self, request: Request, admitted: frozenset[str] = frozenset()) -> str | None:
        items = request.members.get("input")
        remote = isinstance(items, list) and any(map(_is_remote, items))
        return "remote-content" if remote and "remote-content" not in admitted else None

    def judge(self, answer: Any, request: Request | None = None) -> Verdict:
        if not isinstance(answer, dict) or not isinstance(answer.get("data"), list):
            return refuse("no-answer")
        if answer.get("error") is not None:
            return refuse("error")
        items = answer["data"]
        if not items:
            return refuse("empty")
        if not all(map(_is_embedding, items)) or {item["index"] for item in items} != set(range(len(items))):
            return refuse("no-answer")
        return STORE if all(item["embedding"] for item in items) else refuse("empty")

    def assemble(self, blocks: list[bytes]) -> dict[str, Any]:
        _no_stream()

    def replay(self, answer: Mapping[str, Any]) -> Iterator[bytes]:
        _no_stream()

    def error_body(self, status: int, message: str, code: str | None, param: str | None) -> dict[str, Any]:
        return error_body(status, message, code, param)

    def split(self, request: Request) -> list[Request] | None:
        """Return a request for each input alone, by position; None when this is no list of texts or tokens."""
        inputs = _inputs(request.members.get("input"))
        if inputs is None:
            return None
        if len(inputs) == 1:
            return [Request(request.model, False, {**request.members, "input": inputs[0]}, request.body)]
        raw = _raw(request.body)
        if raw is None:
            return None
        members, items = raw
        return [
            Request(
                model=request.model,
                stream=False,
                members={**request.members, "input": one},
                body=msgspec.json.encode({**members, "input": item}),
            )
            for one, item in zip(inputs, items, strict=True)
        ]

    def missing_body(self, request: Request, positions: Sequence[int]) -> bytes:
        """Return the body that asks for the inputs at these positions only, in this order.

        Every input and every other member keeps its bytes. The request is one that `split` has split.
        """
        inputs = _inputs(request.members.get("input")) or []
        raw = _raw(request.body) if list(positions) != list(range(len(inputs))) else None
        if raw is None:
            return request.body
        members, items = raw
        members["input"] = msgspec.Raw(b"[" + b",".join(bytes(items[at]) for at in positions) + b"]")
        return msgspec.json.encode(members)

    def part_answers(self, answer: Mapping[str, Any], parts: Sequence[Request]) -> list[dict[str, Any]]:
        """Return a complete answer for each part, given the answer to all of them; ValueError when it is none.

        Which embedding belongs to which part says its `index`, wherever it stands. The counts of the usage are
        shared out by the size of the inputs, so that they add up to the whole; all else stands in every part.
        """
        items = answer["data"] if self.judge(answer).store else []
        if len(items) != len(parts):
            raise ValueError(f"{len(items)} embeddings for {len(parts)} inputs")
        answers: list[dict[str, Any]] = [{**answer} for _ in parts]
        for item in items:
            answers[item["index"]]["data"] = [{**item, "index": 0}]
        if "usage" in answer:
            shares = shared(answer["usage"], [max(1, len(part.members["input"])) for part in parts])
            for one, share in zip(answers, shares, strict=True):
                one["usage"] = share
        return answers

    def join(self, answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return one answer from the answers to each input alone, given by position.

        The counts of the usage are added up. What all else is says the first answer that has it.
        """
        joined: dict[str, Any] = {}
        for answer in answers:
            for name, value in answer.items():
                joined.setdefault(name, value)
        joined["data"] = [{**answer["data"][0], "index": at} for at, answer in enumerate(answers)]
        if "usage" in joined:
            joined["usage"] = added([answer["usage"] for answer in answers if "usage" in answer])
        return joined


def _inputs(value: Any) -> list[Any] | None:
    """Return what is to be embedded, by position: texts, or lists of tokens; None when it is anything else."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not value:
        return None
    if _is_tokens(value):
        return [value]
    return value if all(isinstance(one, str) for one in value) or all(map(_is_tokens, value)) else None


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(token) is int for token in value)


def _raw(body: bytes) -> tuple[RawMembers, list[msgspec.Raw]] | None:
    """Return the members of a body and its list of inputs, as they came; None when that can't be had."""
    members = raw_members(body)
    try:
        return None if members is None else (members, _raw_items.decode(members["input"]))
    except (msgspec.DecodeError, KeyError):
        return None


def _is_remote(item: Any) -> bool:
    """Say whether an input, which some servers let be an object, names something outside the request."""
    if not isinstance(item, dict):
        return False
    links = (value for value in item.values() if isinstance(value, str))
    return names_remote(item) or any(link.startswith(("http://", "https://")) for link in links)


def _is_embedding(item: Any) -> bool:
    return isinstance(item, dict) and type(item.get("index")) is int and isinstance(item.get("embedding"), list | str)


def _no_stream() -> NoReturn:
    raise ValueError("embeddings have no stream")
