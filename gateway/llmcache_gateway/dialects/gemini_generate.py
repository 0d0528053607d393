"""Google's content: `:generateContent` and `:streamGenerateContent` of the Gemini API and of Vertex AI.

Format: the types of Google's SDK (google-genai 3.6). The path names the model and says whether the answer is
streamed; `alt=sse` asks for a stream as events, without it the stream is one JSON array. Upstream is always asked
for events. Members may be written as in JSON (`systemInstruction`) or as in the protocol (`system_instruction`).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from llmcache_gateway.dialects.base import BodyDialect, Request, Verdict, refuse
from llmcache_gateway.dialects.gemini_stream import assemble, is_finished
from llmcache_gateway.dialects.google_errors import error_body
from llmcache_gateway.dialects.google_paths import generating
from llmcache_gateway.dialects.reading import first_not, holds_member, with_model
from llmcache_gateway.dialects.turns import Turn, last_of_parts, text_of_parts
from llmcache_gateway.errors import RequestError
from llmcache_gateway.plainjson import dumps
from llmcache_gateway.sse import data_event

IGNORED: Final = frozenset({"labels", "serviceTier", "service_tier", "store"})
"""Top-level members that don't change the answer: how it is billed, how fast it is made, whether it is logged."""

STATEFUL: Final = frozenset({"cachedContent", "cached_content", "continuationToken", "continuation_token"})
"""Members of a request whose answer depends on what is kept at the provider."""

OWN_TOOLS: Final = frozenset({"functionDeclarations", "function_declarations"})
"""Tools that the client runs. All others are the provider's own: they look at a web or a machine that changes."""

FILES: Final = frozenset({"fileData", "file_data"})
"""Members of a part that name a file by its address."""

_USERS_OWN: Final = frozenset({"args", "response"})
"""Members of function calls and their results, in which every name is the user's own."""

FILTERED: Final = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "LANGUAGE",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "MODEL_ARMOR",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
    }
)

FLAWS: Final = ("no-answer", "incomplete", "empty", "truncated", "filtered")
"""What may be wrong with a candidate, those first that no setting overrules."""

FORMATS: Final = ("alt", "$alt")
"""Fields of the query that say how the answer is written."""


class GeminiGenerate(BodyDialect):
    """The dialect of content, of the Gemini API or of Vertex AI: they differ in their paths and in who serves them."""

    key_headers = ()
    uncounted_fields = frozenset(f"{name}={value}" for name in FORMATS for value in ("json", "sse"))

    def __init__(self, name: str, path: str, provider: str) -> None:
        self.name = name
        self.path = path
        self.providers = frozenset({provider, "echo"})

    def parse(self, members: Any, body: bytes, target: str = "") -> Request:
        path, _, query = target.partition("?")
        found = generating(path)
        if found is None:
            raise RequestError(400, f"{path[:80]!r} is none of {self.path}.", code="invalid_path")
        if not isinstance(members, dict):
            raise RequestError(400, "The body must be a JSON object.", code="invalid_json")
        events = "sse" in formats(query)
        streamed = found["verb"] == "streamGenerateContent"
        return Request(
            model=found["model"],
            stream=streamed or events,
            members=members,
            body=body,
            target=target,
            written="array" if streamed and not events else "events",
        )

    def counted(self, request: Request) -> dict[str, Any]:
        counted = {name: value for name, value in request.members.items() if name not in IGNORED}
        found = generating(request.target.partition("?")[0])
        resource = found["resource"] if found else request.model
        return with_model(counted, resource)

    def last_turn(self, members: Mapping[str, Any]) -> Turn | None:
        return last_of_parts(members, "contents", "parts")

    def answer_text(self, answer: Any) -> str | None:
        candidates = answer.get("candidates") if isinstance(answer, dict) else None
        candidate = candidates[0] if isinstance(candidates, list) and len(candidates) == 1 else None
        content = candidate.get("content") if isinstance(candidate, dict) else None
        parts = content.get("parts") if isinstance(content, dict) else None
        said = [part for part in parts if not _is_thought(part)] if isinstance(parts, list) else None
        return text_of_parts(said, None)

    def bypass(self, request: Request, admitted: frozenset[str] = frozenset()) -> str | None:
        return first_not(admitted, _bypasses(request))

    def upstream_target(self, request: Request, asked: str) -> str:
        if request.written != "array":
            return asked
        path, _, query = asked.partition("?")
        fields = [field for field in query.split("&") if field and field not in self.uncounted_fields]
        return f"{path}?{'&'.join([*fields, 'alt=sse'])}"

    def is_whole(self, blocks: list[bytes]) -> bool:
        try:
            return is_finished(assemble(blocks))
        except ValueError:
            return False

    def judge(self, answer: Any, request: Request | None = None) -> Verdict:
        if not isinstance(answer, dict):
            return refuse("no-answer")
        if answer.get("error") is not None:
            return refuse("error")
        flaws = set()
        feedback = answer.get("promptFeedback")
        if isinstance(feedback, dict) and feedback.get("blockReason"):
            flaws.add("filtered")
        candidates = answer.get("candidates") or []
        if not isinstance(candidates, list):
            return refuse("no-answer")
        if not candidates and not flaws:
            flaws.add("empty")
        flaws |= {flaw for candidate in candidates for flaw in _flaws(candidate)}
        if request is not None and candidates and len(candidates) < _candidates_asked(request):
            flaws.add("incomplete")
        return refuse(*(flaw for flaw in FLAWS if flaw in flaws))

    def assemble(self, blocks: list[bytes]) -> dict[str, Any]:
        return assemble(blocks)

    def replay(self, answer: Mapping[str, Any]) -> Iterator[bytes]:
        # Every event of a stream is an answer of its own, so that a whole one is a stream of one event.
        yield data_event(dumps(answer))

    def error_body(self, status: int, message: str, code: str | None, param: str | None) -> dict[str, Any]:
        return error_body(status, message)


def generation_config(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a request, under the names that JSON gives them."""
    config = members.get("generationConfig", members.get("generation_config"))
    if not isinstance(config, dict):
        return {}
    return {_camel(name): value for name, value in config.items()}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def formats(query: str) -> list[str]:
    return [value for name, value in parse_qsl(query) if name in FORMATS]


def _candidates_asked(request: Request) -> int:
    asked = generation_config(request.members).get("candidateCount")
    return asked if isinstance(asked, int) else 1


def _bypasses(request: Request) -> Iterator[str]:
    """Yield every reason to keep a request away from the cache."""
    members = request.members
    if any(members.get(name) for name in STATEFUL):
        yield "stateful"
    tools = members.get("tools")
    if tools and not (isinstance(tools, list) and all(map(_is_own_tool, tools))):
        yield "hosted-tools"
    contents = (members.get(name) for name in ("contents", "systemInstruction", "system_instruction"))
    if any(holds_member(content, FILES, _USERS_OWN) for content in contents):
        yield "remote-content"
    modalities = generation_config(members).get("responseModalities")
    if isinstance(modalities, list) and not {"AUDIO", "VIDEO"}.isdisjoint(filter(_is_text, modalities)):
        yield "audio"
    if not set(formats(request.target.partition("?")[2])) <= {"json", "sse"}:
        yield "format"


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_own_tool(tool: Any) -> bool:
    return isinstance(tool, dict) and tool.keys() <= OWN_TOOLS


def _flaws(candidate: Any) -> Iterator[str]:
    """Yield what speaks against storing an answer with this candidate."""
    if not isinstance(candidate, dict):
        yield "no-answer"
        return
    reason = candidate.get("finishReason")
    if reason == "MAX_TOKENS":
        yield "truncated"
    elif reason in FILTERED:
        yield "filtered"
    elif reason != "STOP":
        yield "incomplete"
    else:
        content = candidate.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        if not isinstance(parts, list) or all(map(_says_nothing, parts)):
            yield "empty"


def _says_nothing(part: Any) -> bool:
    if not isinstance(part, dict) or _is_thought(part):
        return True
    return not part.get("text") and part.keys() <= {"text", "thought", "thoughtSignature", "thought_signature"}


def _is_thought(part: Any) -> bool:
    return isinstance(part, dict) and bool(part.get("thought"))
