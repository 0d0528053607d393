"""Google's embeddings: `:embedContent` of one content, and `:batchEmbedContents` of a list of such requests.

Format: the types of Google's SDK (google-genai 3.6). There is no stream. A batch is cut into batches of one request,
cached each for itself, so that only those that are missing go upstream (see `parts`). A batch's embeddings have no
numbers: they stand in the order of its requests.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import msgspec

from llmcache_gateway.dialects.base import STORE, BodyDialect, Request, Verdict, refuse
from llmcache_gateway.dialects.counts import added, shared
from llmcache_gateway.dialects.gemini_generate import FILES, FORMATS, formats
from llmcache_gateway.dialects.google_errors import error_body
from llmcache_gateway.dialects.google_paths import embedding
from llmcache_gateway.dialects.reading import first_not, holds_member
from llmcache_gateway.errors import RequestError
from llmcache_gateway.plainjson import RawMembers, dumps, raw_members

_raw_items = msgspec.json.Decoder(list[msgspec.Raw])


class _GoogleEmbedding(BodyDialect):
    """What one embedding and a batch have in common, of the Gemini API or of Vertex AI."""

    verb: str
    key_headers = ()
    uncounted_fields = frozenset(f"{name}=json" for name in FORMATS)

    def __init__(self, name: str, provider: str) -> None:
        self.name = name
        self.path = f"/v1beta/models/MODEL:{self.verb}"
        self.providers = frozenset({provider})

    def parse(self, members: Any, body: bytes, target: str = "") -> Request:
        found = embedding(target.partition("?")[0])
        if found is None or found["verb"] != self.verb:
            raise RequestError(400, f"{target[:80]!r} is none of {self.path}.", code="invalid_path")
        if not isinstance(members, dict):
            raise RequestError(400, "The body must be a JSON object.", code="invalid_json")
        return Request(model=found["model"], stream=False, members=members, body=body, target=target)

    def counted(self, request: Request) -> dict[str, Any]:
        found = embedding(request.target.partition("?")[0])
        resource = found["resource"] if found else request.model
        members = request.members
        # A text in one case and a list in the other can't be taken for each other.
        return members | {"model": [resource, members["model"]] if "model" in members else resource}

    def bypass(self, request: Request, admitted: frozenset[str] = frozenset()) -> str | None:
        return first_not(admitted, _bypasses(request))

    def assemble(self, blocks: list[bytes]) -> dict[str, Any]:
        _no_stream()

    def replay(self, answer: Mapping[str, Any]) -> Iterator[bytes]:
        _no_stream()

    def error_body(self, status: int, message: str, code: str | None, param: str | None) -> dict[str, Any]:
        return error_body(status, message)


class GeminiEmbedding(_GoogleEmbedding):
    """The dialect of one embedding."""

    verb = "embedContent"

    def judge(self, answer: Any, request: Request | None = None) -> Verdict:
        if not isinstance(answer, dict):
            return refuse("no-answer")
        if answer.get("error") is not None:
            return refuse("error")
        return _judged([answer.get("embedding")])


class GeminiEmbeddings(_GoogleEmbedding):
    """The dialect of a batch of embeddings."""

    verb = "batchEmbedContents"

    def judge(self, answer: Any, request: Request | None = None) -> Verdict:
        if not isinstance(answer, dict):
            return refuse("no-answer")
        if answer.get("error") is not None:
            return refuse("error")
        items = answer.get("embeddings")
        if not isinstance(items, list):
            return refuse("no-answer")
        asked = _requests(request.members) if request is not None else None
        if asked is not None and len(items) != len(asked):
            return refuse("incomplete")
        return _judged(items)

    def split(self, request: Request) -> list[Request] | None:
        """Return a batch of each request alone, by position; None when this is no list of requests."""
        items, raw = _requests(request.members), _raw(request.body)
        if items is None or raw is None:
            return None
        members, raw_items = raw
        return [
            msgspec.structs.replace(
                request,
                members={**request.members, "requests": [one]},
                body=msgspec.json.encode({**members, "requests": [item]}),
            )
            for one, item in zip(items, raw_items, strict=True)
        ]

    def missing_body(self, request: Request, positions: Sequence[int]) -> bytes:
        """Return the body that asks for the requests at these positions only, in this order, each as it came."""
        raw = _raw(request.body)
        if raw is None:
            return request.body
        members, items = raw
        return msgspec.json.encode({**members, "requests": [items[at] for at in positions]})

    def part_answers(self, answer: Any, parts: Sequence[Request]) -> list[dict[str, Any]]:
        """Return a complete answer for each part, given the answer to all of them; ValueError when it is none.

        Counts of the usage are shared out by the size of the requests; all else stands in every part.
        """
        items = answer["embeddings"] if self.judge(answer).store else []
        if len(items) != len(parts):
            raise ValueError(f"{len(items)} embeddings for {len(parts)} requests")
        answers: list[dict[str, Any]] = [{**answer, "embeddings": [item]} for item in items]
        if "usageMetadata" in answer:
            shares = shared(answer["usageMetadata"], [len(dumps(part.members["requests"])) for part in parts])
            for one, share in zip(answers, shares, strict=True):
                one["usageMetadata"] = share
        return answers

    def join(self, answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return one answer from the answers to each request alone, given by position, with their usage added up."""
        joined: dict[str, Any] = {}
        for answer in answers:
            for name, value in answer.items():
                joined.setdefault(name, value)
        joined["embeddings"] = [answer["embeddings"][0] for answer in answers]
        if "usageMetadata" in joined:
            joined["usageMetadata"] = added([one["usageMetadata"] for one in answers if "usageMetadata" in one])
        return joined


def _requests(members: Mapping[str, Any]) -> list[Any] | None:
    items = members.get("requests")
    return items if isinstance(items, list) and items and all(isinstance(item, dict) for item in items) else None


def _raw(body: bytes) -> tuple[RawMembers, list[msgspec.Raw]] | None:
    """Return the members of a body and its list of requests, as they came; None when that can't be had."""
    members = raw_members(body)
    try:
        return None if members is None else (members, _raw_items.decode(members["requests"]))
    except (msgspec.DecodeError, KeyError):
        return None


def _bypasses(request: Request) -> Iterator[str]:
    if holds_member(request.members, FILES, frozenset()):
        yield "remote-content"
    if not set(formats(request.target.partition("?")[2])) <= {"json"}:
        yield "format"


def _judged(items: list[Any]) -> Verdict:
    if not all(isinstance(item, dict) and isinstance(item.get("values"), list) for item in items):
        return refuse("no-answer")
    return STORE if items and all(item["values"] for item in items) else refuse("empty")


def _no_stream() -> NoReturn:
    raise ValueError("embeddings have no stream")
