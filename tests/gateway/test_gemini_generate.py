"""The dialect of Google's content: pure, so tested without a server."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from llmcache_gateway import key
from llmcache_gateway.config import Cache
from llmcache_gateway.config.cache import KeySettings
from llmcache_gateway.dialects import dialect_of
from llmcache_gateway.dialects.base import Dialect, Request
from llmcache_gateway.dialects.framing import Framing
from llmcache_gateway.errors import RequestError
from llmcache_gateway.heads import Head
from llmcache_gateway.policy import default_settings
from tests.gateway.corpus.gemini import BLOCKED, answer, blocks, call, candidate, text

MODELS = "/v1beta/models/gemini-3.8-flash"
VERTEX = "/v1/projects/p/locations/l/publishers/google/models/gemini-3.8-flash"
CONTENTS = [{"role": "user", "parts": [{"text": "What is a cache?"}]}]


def dialect(path: str = f"{MODELS}:generateContent") -> Dialect:
    found = dialect_of("POST", path)
    assert found is not None
    return found


def parse(members: dict[str, Any], target: str = f"{MODELS}:generateContent") -> Request:
    return dialect(target.partition("?")[0]).parse(members, json.dumps(members).encode(), target)


def digest(target: str = f"{MODELS}:generateContent", headers: dict[str, str] | None = None, **more: Any) -> str:
    request = parse({"contents": CONTENTS, **more}, target)
    return key.digest(
        dialect=dialect(target.partition("?")[0]),
        request=request,
        settings=default_settings(Cache(ttl="1h"), "Credential", None, ()),
        head=Head("POST", target, CIMultiDict(headers or {})),
        upstream=("gemini",),
        tenant="t",
        namespace="",
    )


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (f"{MODELS}:generateContent", "gemini-generate"),
        (f"{MODELS}:streamGenerateContent", "gemini-generate"),
        ("/v1/tunedModels/mine:generateContent", "gemini-generate"),
        (f"{VERTEX}:generateContent", "vertex-generate"),
        ("/v1beta1/projects/p/locations/global/endpoints/7:streamGenerateContent", "vertex-generate"),
        ("/v1beta1/publishers/google/models/m:generateContent", "vertex-generate"),
        (f"{MODELS}:countTokens", None),
        (f"{MODELS}:embedContent", "gemini-embeddings"),
        (f"{MODELS}:batchEmbedContents", "gemini-embeddings"),
        (f"{MODELS}:asyncBatchEmbedContent", None),
        (f"{MODELS}%3AgenerateContent", None),
        ("/v1beta/models/a/b:generateContent", None),
        ("/v1beta/models/:generateContent", None),
        ("/x/v1beta/models/m:generateContent", None),
        ("/v1/projects/p/locations/l/publishers/anthropic/models/claude:generateContent", None),
        (f"{MODELS}:generateContent/", None),
    ],
)
def test_a_path_names_the_dialect(path: str, name: str | None) -> None:
    found = dialect_of("POST", path)
    assert (found and found.name) == name
    assert dialect_of("GET", path) is None


@pytest.mark.parametrize(
    ("verb", "stream", "array"),
    [
        ("generateContent", False, False),
        ("generateContent?alt=json", False, False),
        ("generateContent?alt=sse", True, False),
        ("streamGenerateContent?alt=sse", True, False),
        ("streamGenerateContent?%24alt=sse&x=1", True, False),
        ("streamGenerateContent", True, True),
        ("streamGenerateContent?alt=json", True, True),
    ],
)
def test_path_and_query_say_whether_and_how_an_answer_streams(verb: str, stream: bool, array: bool) -> None:
    request = parse({}, f"{MODELS}:{verb}")
    assert (request.model, request.stream, request.written == "array") == ("gemini-3.8-flash", stream, array)


def test_upstream_is_always_asked_for_events() -> None:
    asked = f"{MODELS}:streamGenerateContent?alt=json&x=1"
    assert dialect().upstream_target(parse({}, asked), asked) == f"{MODELS}:streamGenerateContent?x=1&alt=sse"
    asked = f"{MODELS}:streamGenerateContent?x=1&alt=sse"
    assert dialect().upstream_target(parse({}, asked), asked) == asked
    asked = f"{MODELS}:generateContent"
    assert dialect().upstream_target(parse({}, asked), asked) == asked


def test_a_body_that_is_no_object_is_refused() -> None:
    with pytest.raises(RequestError, match="must be a JSON object"):
        dialect().parse([], b"[]", f"{MODELS}:generateContent")


# --- The key


@pytest.mark.parametrize(
    "target",
    [
        f"{MODELS}:streamGenerateContent",
        f"{MODELS}:streamGenerateContent?alt=sse",
        f"{MODELS}:streamGenerateContent?alt=json",
        f"{MODELS}:generateContent?alt=json",
        f"{MODELS}:generateContent?key=AIzaSecret",
        f"{MODELS}:streamGenerateContent?alt=sse&access_token=ya29",
    ],
)
def test_how_an_answer_is_asked_for_makes_no_other_key(target: str) -> None:
    assert digest(target) == digest()


@pytest.mark.parametrize(
    "more",
    [{"labels": {"a": "b"}}, {"serviceTier": "flex"}, {"service_tier": "flex"}, {"store": True}],
)
def test_what_does_not_change_the_answer_makes_no_other_key(more: dict[str, Any]) -> None:
    assert digest(**more) == digest()
    assert digest(headers={"x-goog-api-client": "google-genai-sdk/3.6.1", "x-server-timeout": "60"}) == digest()


@pytest.mark.parametrize(
    "target",
    [
        "/v1beta/models/gemini-3.8-pro:generateContent",
        "/v1/models/gemini-3.8-flash:generateContent",
        "/v1beta/tunedModels/gemini-3.8-flash:generateContent",
        f"{VERTEX}:generateContent",
        f"{VERTEX.replace('/l/', '/m/')}:generateContent",
        f"{MODELS}:generateContent?fields=candidates",
        f"{MODELS}:generateContent?alt=proto",
    ],
)
def test_another_model_version_place_or_field_makes_another_key(target: str) -> None:
    assert digest(target) != digest()


@pytest.mark.parametrize(
    "more",
    [
        {"systemInstruction": {"parts": [{"text": "Be brief."}]}},
        {"generationConfig": {"temperature": 0}},
        {"safetySettings": []},
        {"modelArmorConfig": {}},
        {"cachedContent": "cachedContents/a"},
        {"of_tomorrow": 1},
        {"model": "models/other"},
    ],
)
def test_every_other_member_makes_another_key(more: dict[str, Any]) -> None:
    assert digest(**more) != digest()


def test_a_model_in_the_body_cannot_pass_for_one_in_the_path() -> None:
    other = "/v1beta/models/other"
    assert digest(f"{other}:generateContent") != digest(model=other)
    assert digest(f"{other}:generateContent", model=MODELS) != digest(model=other)


def test_texts_are_evened_out_where_google_has_them() -> None:
    cache = Cache(ttl="1h", key=KeySettings(normalize=["whitespace", "case"]))
    settings = default_settings(cache, "Credential", None, ())

    def counted(members: dict[str, Any]) -> dict[str, Any]:
        return key.counted_members(dialect(), parse(members), settings)

    def asked(words: str, result: str = "As  IS") -> dict[str, Any]:
        parts = [{"text": words}, {"functionResponse": {"response": {"text": result}}}]
        return {"contents": [{"parts": parts}], "systemInstruction": {"parts": [{"text": words}]}}

    assert counted(asked(" What  is ")) == counted(asked("what IS"))
    assert counted(asked("what", "a  b")) != counted(asked("what", "a b"))


# --- What passes by


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"cachedContent": "cachedContents/a"}, "stateful"),
        ({"cached_content": "cachedContents/a"}, "stateful"),
        ({"continuationToken": "abc"}, "stateful"),
        ({"tools": [{"googleSearch": {}}]}, "hosted-tools"),
        ({"tools": [{"google_search": {}}]}, "hosted-tools"),
        ({"tools": [{"functionDeclarations": []}, {"codeExecution": {}}]}, "hosted-tools"),
        ({"tools": [{"function_declarations": [], "url_context": {}}]}, "hosted-tools"),
        ({"tools": [{"toolOfTomorrow": {}}]}, "hosted-tools"),
        ({"tools": {"googleSearch": {}}}, "hosted-tools"),
        ({"contents": [{"parts": [{"fileData": {"fileUri": "gs://b/o"}}]}]}, "remote-content"),
        ({"contents": {"parts": [{"file_data": {"file_uri": "https://x"}}]}}, "remote-content"),
        ({"system_instruction": {"parts": [{"fileData": {"fileUri": "gs://b/o"}}]}}, "remote-content"),
        (
            {"contents": [{"parts": [{"functionResponse": {"parts": [{"fileData": {"fileUri": "gs://b"}}]}}]}]},
            "remote-content",
        ),
        ({"generationConfig": {"responseModalities": ["AUDIO"]}}, "audio"),
        ({"generation_config": {"response_modalities": ["AUDIO"]}}, "audio"),
        ({"tools": [{"functionDeclarations": [{"name": "googleSearch"}]}]}, None),
        ({"contents": [{"parts": [{"functionCall": {"name": "f", "args": {"fileData": {}}}}]}]}, None),
        ({"contents": [{"parts": [{"functionResponse": {"response": {"file_data": {}}}}]}]}, None),
        ({"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "AA=="}}]}]}, None),
        ({"generationConfig": {"responseModalities": ["TEXT", "IMAGE"]}, "tools": []}, None),
    ],
)
def test_what_depends_on_more_than_the_request_passes_by(members: dict[str, Any], reason: str | None) -> None:
    assert dialect().bypass(parse(members)) == reason
    if reason is not None:
        assert dialect().bypass(parse(members), frozenset({reason})) is None


def test_an_answer_in_a_form_that_is_not_kept_passes_by() -> None:
    assert dialect().bypass(parse({}, f"{MODELS}:generateContent?alt=proto")) == "format"


def test_sampling_is_seen_where_google_writes_it() -> None:
    settings = default_settings(Cache(ttl="1h", sampling="Bypass"), "Credential", None, ())
    controls = Head("POST", "/", CIMultiDict()).controls(None)
    for name, config in (
        ("generationConfig", {"temperature": 0.5}),
        ("generation_config", {"candidate_count": 2}),
    ):
        assert settings.bypass(dialect(), parse({name: config}), controls, CIMultiDict()) == "sampling"
    assert settings.bypass(dialect(), parse({"generationConfig": {"temperature": 0}}), controls, CIMultiDict()) is None


# --- What is stored


@pytest.mark.parametrize(
    ("given", "reasons"),
    [
        (answer(candidate(text("A"))), ()),
        (answer(candidate(call({}))), ()),
        (answer(candidate(text("A"), reason="MAX_TOKENS")), ("truncated",)),
        (answer(candidate(text("A"), reason="SPII")), ("filtered",)),
        (answer(candidate(text("A"), reason="CONTINUATION")), ("incomplete",)),
        (answer(candidate(text("A"), reason="REASON_OF_TOMORROW")), ("incomplete",)),
        (answer({"content": {"parts": [text("A")]}}), ("incomplete",)),
        (answer(candidate(text("", thoughtSignature="AA=="))), ("empty",)),
        (answer(candidate(text("hm", thought=True))), ("empty",)),
        (answer({"finishReason": "STOP"}), ("empty",)),
        (answer(candidate(text("A")), candidate(text("B"), reason="MAX_TOKENS", index=1)), ("truncated",)),
        (
            answer(candidate(text("A"), reason="MAX_TOKENS"), candidate(text("B"), reason="SAFETY")),
            ("truncated", "filtered"),
        ),
        (BLOCKED, ("filtered",)),
        ({"usageMetadata": {}}, ("empty",)),
        ({"error": {"code": 503, "message": "no", "status": "UNAVAILABLE"}}, ("error",)),
        ([answer(candidate(text("A")))], ("no-answer",)),
        ({"candidates": ["A"]}, ("no-answer",)),
        ({"candidates": "A"}, ("no-answer",)),
    ],
)  # fmt: skip
def test_only_whole_and_willing_answers_are_stored(given: Any, reasons: tuple[str, ...]) -> None:
    assert dialect().judge(given).reasons == reasons


def test_an_answer_with_fewer_candidates_than_asked_is_not_stored() -> None:
    request = parse({"generationConfig": {"candidateCount": 2}})
    assert dialect().judge(answer(candidate(text("A"))), request).reason == "incomplete"
    assert dialect().judge(answer(candidate(text("A")), candidate(text("B"), index=1)), request).store


# --- Streams

PARTS = st.lists(
    st.builds(text, st.text(min_size=1, max_size=30))
    | st.builds(lambda said: text(said, thought=True), st.text(min_size=1, max_size=30))
    | st.builds(lambda said: text(said, thoughtSignature="AA=="), st.text(max_size=9))
    | st.builds(call, st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=2))
    | st.just({"inlineData": {"mimeType": "image/png", "data": "AA=="}, "partOfTomorrow": {"x": [1]}}),
    min_size=1,
    max_size=5,
)


def merged(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return parts as a stream tells them: it does not say where one text ends and the next begins."""
    kept: list[dict[str, Any]] = []
    for part in copy.deepcopy(parts):
        if kept and kept[-1].keys() == part.keys() and part.keys() <= {"text", "thought"}:
            kept[-1]["text"] += part["text"]
        else:
            kept.append(part)
    return kept


@given(st.lists(PARTS, min_size=1, max_size=3))
def test_a_stream_is_put_together_to_the_answer_that_it_was_made_of(candidates: list[list[dict[str, Any]]]) -> None:
    more: dict[str, Any] = {"avgLogprobs": -0.5, "of_tomorrow": {"x": [1]}}
    whole = answer(*(candidate(*parts, index=at, **more) for at, parts in enumerate(candidates)), top_of_tomorrow=[1])
    expected = answer(
        *(candidate(*merged(parts), index=at, **more) for at, parts in enumerate(candidates)), top_of_tomorrow=[1]
    )
    sent = blocks(whole, {})
    assert dialect().assemble(sent) == expected
    assert dialect().is_whole(sent)
    assert not any(dialect().is_whole(sent[:upto]) for upto in range(len(sent) - 1) if len(candidates) == 1)
    assert dialect().assemble(list(dialect().replay(expected))) == expected


def said(*pieces: dict[str, Any]) -> list[bytes]:
    return [b"data: " + json.dumps(piece).encode() for piece in pieces]


def test_what_comes_in_several_pieces_is_put_together() -> None:
    first = {
        "index": 0,
        "content": {"role": "model", "parts": [text("A")]},
        "safetyRatings": [{"category": "X"}],
        "citationMetadata": {"citations": [{"uri": "a"}]},
        "logprobsResult": {"chosenCandidates": [{"token": "A"}]},
    }
    last = {"index": 0, "content": {"role": "model", "parts": [text("B")]}, "safetyRatings": [{"category": "Y"}],
            "citationMetadata": {"citations": [{"uri": "a"}, {"uri": "b"}]}, "finishReason": "STOP",
            "logprobsResult": {"chosenCandidates": [{"token": "A"}]}}  # fmt: skip
    usage = {"promptTokenCount": 3, "cachedContentTokenCount": 2}
    found = dialect().assemble(
        said(
            {"candidates": [first], "usageMetadata": usage},
            {"candidates": [last], "usageMetadata": {"promptTokenCount": 4}},
        )
    )
    assert found == {
        "candidates": [
            {
                "index": 0,
                "content": {"role": "model", "parts": [text("AB")]},
                "safetyRatings": [{"category": "Y"}],
                "citationMetadata": {"citations": [{"uri": "a"}, {"uri": "b"}]},
                "logprobsResult": {"chosenCandidates": [{"token": "A"}, {"token": "A"}]},
                "finishReason": "STOP",
            }
        ],
        "usageMetadata": {"promptTokenCount": 4, "cachedContentTokenCount": 2},
    }


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [[1]],
        [{"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "willContinue": True}}]}}]}],
        [{"candidates": [{"content": {"parts": [{"functionCall": {"partialArgs": []}}]}}]}],
        [{"responseId": "1"}, {"responseId": "2"}],
        [{"candidates": [{"groundingMetadata": {"a": 1}}]}, {"candidates": [{"groundingMetadata": {"a": 2}}]}],
        [{"candidates": [{"ofTomorrow": 1}]}, {"candidates": [{"ofTomorrow": 2}]}],
    ],
)
def test_what_nobody_knows_how_to_put_together_makes_no_answer(pieces: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"piece|said twice|holds no answer"):
        dialect().assemble(said(*pieces))
    assert not dialect().is_whole(said(*pieces))


def test_a_stream_is_whole_when_every_candidate_or_the_prompt_has_met_its_end() -> None:
    done, open_ = candidate(text("A")), {"index": 1, "content": {"parts": [text("B")]}}
    assert dialect().is_whole(said({"candidates": [done]}))
    assert not dialect().is_whole(said({"candidates": [done]}, {"candidates": [open_]}))
    assert not dialect().is_whole(said({"usageMetadata": {}}))
    assert dialect().is_whole(said(BLOCKED))
    assert not dialect().is_whole(said({"candidates": [open_]}, {"error": {"code": 500}}))


def test_a_stream_as_an_array_is_one_json_text_however_it_is_cut() -> None:
    request = parse({}, f"{MODELS}:streamGenerateContent")
    sent = said({"a": 1}, {"b": "\n"}, {"c": []})
    for cuts in ([3], [1, 1, 1], [0, 2, 1]):
        framing, written, rest = Framing(request), b"", list(sent)
        for cut in cuts:
            written += framing.pieces(rest[:cut])
            rest = rest[cut:]
        assert json.loads(written + framing.end()) == [{"a": 1}, {"b": "\n"}, {"c": []}]
    assert Framing(request).end() == b"[]"
