"""Which requests the semantic cache is for, and that everything but the last user turn is in the scope."""

import dataclasses
import json
from typing import Any

import pytest
from multidict import CIMultiDict

from llmcache_gateway import canonical, key
from llmcache_gateway.config import Cache, KeySettings, Semantic
from llmcache_gateway.dialects import dialect_of
from llmcache_gateway.heads import Head
from llmcache_gateway.policy import default_settings
from llmcache_gateway.semantic.suitability import Asked, read

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
RESPONSES = "/v1/responses"
GEMINI = "/v1beta/models/gemini-3-flash:generateContent"
CONVERSE = "/model/eu.amazon.nova-lite-v1:0/converse"
CLAUDE = "/model/eu.anthropic.claude-opus-5-v1:0/invoke"
NOVA = "/model/eu.amazon.nova-lite-v1:0/invoke"
TITAN = "/model/amazon.titan-text-express-v1/invoke"

QUESTION = "How do I reset my password?"

BODIES: dict[str, dict[str, Any]] = {
    CHAT: {
        "model": "gpt-4o",
        "temperature": 0,
        "messages": [
            {"role": "system", "content": "You help."},
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hello!"},
            {"role": "user", "content": QUESTION},
        ],
    },
    MESSAGES: {
        "model": "claude-opus-5",
        "max_tokens": 100,
        "system": "You help.",
        "messages": [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hello!"},
            {"role": "user", "content": [{"type": "text", "text": QUESTION, "cache_control": {"type": "ephemeral"}}]},
        ],
    },
    RESPONSES: {
        "model": "gpt-4o",
        "store": False,
        "instructions": "You help.",
        "input": [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hello!"},
            {"role": "user", "content": [{"type": "input_text", "text": QUESTION}]},
        ],
    },
    GEMINI: {
        "systemInstruction": {"parts": [{"text": "You help."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Hello"}]},
            {"role": "model", "parts": [{"text": "Hello!"}]},
            {"role": "user", "parts": [{"text": QUESTION}]},
        ],
    },
    CONVERSE: {
        "system": [{"text": "You help."}],
        "messages": [
            {"role": "user", "content": [{"text": "Hello"}]},
            {"role": "assistant", "content": [{"text": "Hello!"}]},
            {"role": "user", "content": [{"text": QUESTION}, {"cachePoint": {"type": "default"}}]},
        ],
    },
    CLAUDE: {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 100,
        "system": "You help.",
        "messages": [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hello!"},
            {"role": "user", "content": [{"type": "text", "text": QUESTION}]},
        ],
    },
    NOVA: {
        "schemaVersion": "messages-v1",
        "system": [{"text": "You help."}],
        "messages": [
            {"role": "user", "content": [{"text": "Hello"}]},
            {"role": "assistant", "content": [{"text": "Hello!"}]},
            {"role": "user", "content": [{"text": QUESTION}]},
        ],
    },
}


def asked(
    body: dict[str, Any],
    path: str = CHAT,
    *,
    headers: dict[str, str] | None = None,
    cache: Cache | None = None,
    semantic: Semantic | None = None,
    **where: str,
) -> Asked | str:
    dialect = dialect_of("POST", path.partition("?")[0])
    assert dialect is not None
    raw = json.dumps(body).encode()
    semantic = semantic or Semantic(enabled=True)
    place: dict[str, Any] = {"tenant": "red", "namespace": "", "prefix": "p:v1", "embedding": "static-1"} | where
    return read(
        dialect=dialect,
        request=dialect.parse(canonical.decode(raw), raw, path),
        settings=default_settings(cache or Cache(), "Credential", None),
        semantic=semantic,
        head=Head("POST", path, CIMultiDict(headers or {})),
        upstream=("main", "openai", "https://x"),
        **place,
    )


def scope(*arguments: Any, **more: Any) -> str:
    found = asked(*arguments, **more)
    assert isinstance(found, Asked), found
    return found.scope


def changed(path: str, change: str, value: Any) -> dict[str, Any]:
    """Return the body of an API with one value in it changed, added or taken out, by its path."""
    body = json.loads(json.dumps(BODIES[path]))
    *way, last = change.split(".")
    here: Any = body
    for step in way:
        here = here[int(step) if step.lstrip("-").isdigit() else step]
    here[int(last) if last.lstrip("-").isdigit() else last] = value
    return dict(body)


@pytest.mark.parametrize("path", BODIES)
def test_the_last_user_turn_is_what_is_asked(path: str) -> None:
    found = asked(BODIES[path], path)
    assert isinstance(found, Asked)
    assert found.text == QUESTION


@pytest.mark.parametrize(
    ("path", "where"),
    [
        (CHAT, "messages.-1.content"),
        (MESSAGES, "messages.-1.content.0.text"),
        (RESPONSES, "input.-1.content.0.text"),
        (GEMINI, "contents.-1.parts.0.text"),
        (CONVERSE, "messages.-1.content.0.text"),
        (CLAUDE, "messages.-1.content.0.text"),
        (NOVA, "messages.-1.content.0.text"),
    ],
)
def test_the_last_user_turn_alone_is_not_in_the_scope(path: str, where: str) -> None:
    assert scope(changed(path, where, "Something else"), path) == scope(BODIES[path], path)


@pytest.mark.parametrize(
    ("path", "where", "value"),
    [
        (CHAT, "model", "gpt-4o-mini"),
        (CHAT, "temperature", 1),
        (CHAT, "messages.0.content", "You help little."),
        (CHAT, "messages.1.content", "Good evening"),
        (CHAT, "messages.2.content", "Good evening!"),
        (CHAT, "messages.3.name", "Anna"),
        (CHAT, "response_format", {"type": "json_object"}),
        (CHAT, "seed", 5),
        (CHAT, "a_field_of_tomorrow", True),
        (MESSAGES, "system", "You help little."),
        (MESSAGES, "messages.0.content", "Good evening"),
        (MESSAGES, "max_tokens", 101),
        (RESPONSES, "instructions", "You help little."),
        (RESPONSES, "input.1.content", "Good evening!"),
        (GEMINI, "systemInstruction.parts.0.text", "You help little."),
        (GEMINI, "contents.0.parts.0.text", "Good evening"),
        (GEMINI, "generationConfig", {"temperature": 1}),
        (CONVERSE, "system.0.text", "You help little."),
        (CONVERSE, "messages.0.content.0.text", "Good evening"),
        (CONVERSE, "messages.1.content.0.text", "Good evening!"),
        (CONVERSE, "inferenceConfig", {"temperature": 1}),
        (CONVERSE, "additionalModelRequestFields", {"top_k": 5}),
        (CONVERSE, "guardrailConfig", {"guardrailIdentifier": "g", "guardrailVersion": "1"}),
        (CLAUDE, "system", "You help little."),
        (CLAUDE, "messages.1.content", "Good evening!"),
        (CLAUDE, "anthropic_version", "bedrock-2026-10-21"),
        (NOVA, "messages.0.content.0.text", "Good evening"),
        (NOVA, "inferenceConfig", {"temperature": 1}),
    ],
)
def test_everything_else_is(path: str, where: str, value: Any) -> None:
    assert scope(changed(path, where, value), path) != scope(BODIES[path], path)


@pytest.mark.parametrize("path", [GEMINI, CONVERSE, CLAUDE, NOVA])
def test_a_model_that_the_path_names_is_in_the_scope(path: str) -> None:
    other = path.replace("models/gemini", "models/other").replace("/eu.", "/us.")
    assert other != path
    assert scope(BODIES[path], other) != scope(BODIES[path], path)


@pytest.mark.parametrize(("path", "streamed"), [(CONVERSE, "converse-stream"), (NOVA, "invoke-with-response-stream")])
def test_a_stream_is_in_the_scope_of_what_is_none(path: str, streamed: str) -> None:
    whole = path.rpartition("/")[2]
    assert scope(BODIES[path], path.replace(whole, streamed)) == scope(BODIES[path], path)


def test_the_same_last_message_in_another_conversation_is_in_another_scope() -> None:
    alone = {**BODIES[CHAT], "messages": BODIES[CHAT]["messages"][-1:]}
    assert scope(alone) != scope(BODIES[CHAT])


@pytest.mark.parametrize(
    "where", [{"tenant": "blue"}, {"namespace": "n"}, {"prefix": "p:v2"}, {"embedding": "static-2"}]
)
def test_who_asks_and_what_made_the_vector_are_in_the_scope(where: dict[str, str]) -> None:
    assert scope(BODIES[CHAT], **where) != scope(BODIES[CHAT])


def test_a_header_that_counts_and_a_setting_that_lets_share_are_in_the_scope() -> None:
    assert scope(BODIES[CHAT], headers={"X-Trace": "1"}) != scope(BODIES[CHAT])
    assert scope(BODIES[CHAT], cache=Cache(key=KeySettings(ignore=["seed"]))) != scope(BODIES[CHAT])


def test_what_never_counts_is_in_no_scope() -> None:
    assert scope(changed(CHAT, "stream", True)) == scope(BODIES[CHAT])
    assert scope(changed(CHAT, "user", "anna")) == scope(BODIES[CHAT])


def test_what_is_ignored_and_evened_out_for_the_key_is_so_for_the_scope_but_not_in_the_question() -> None:
    cache = Cache(key=KeySettings(ignore=["seed"], normalize=["case"]))
    loud = changed(CHAT, "messages.0.content", "YOU HELP.") | {"seed": 7}
    assert scope(loud, cache=cache) == scope(BODIES[CHAT], cache=cache)
    found = asked(BODIES[CHAT], cache=cache)
    assert isinstance(found, Asked)
    assert found.text == QUESTION


@pytest.mark.parametrize(
    ("path", "where", "value"),
    [
        (CHAT, "messages.-1.role", "assistant"),
        (CHAT, "messages.-1.content", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
        (CHAT, "messages.-1.content", [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]),
        (CHAT, "messages.-1.content", None),
        (CHAT, "messages", []),
        (CHAT, "messages", "hello"),
        (MESSAGES, "messages.-1.role", "assistant"),
        (MESSAGES, "messages.-1.content", [{"type": "tool_result", "tool_use_id": "1", "content": "5"}]),
        (RESPONSES, "input.-1", {"type": "function_call_output", "call_id": "1", "output": "5"}),
        (GEMINI, "contents.-1.parts", [{"text": "a"}, {"inlineData": {"mimeType": "image/png", "data": "AA=="}}]),
        (GEMINI, "contents.-1.role", "model"),
        (GEMINI, "contents", "hello"),
        (CONVERSE, "messages.-1.role", "assistant"),
        (CONVERSE, "messages.-1.content", [{"text": "a"}, {"text": "b"}]),
        (CONVERSE, "messages.-1.content", [{"guardContent": {"text": {"text": "a"}}}]),
        (CONVERSE, "messages.-1.content", [{"toolResult": {"toolUseId": "1", "content": [{"text": "5"}]}}]),
        (CONVERSE, "messages.-1.content", [{"text": 5}]),
        (CONVERSE, "messages.-1.content", "hello"),
        (CONVERSE, "messages", []),
        (CONVERSE, "messages", None),
        (CLAUDE, "messages.-1.role", "assistant"),
        (CLAUDE, "anthropic_version", None),
        (NOVA, "messages.-1.content", [{"text": "a"}, {"image": {"format": "png", "source": {"bytes": "AA=="}}}]),
    ],
)
def test_a_request_that_does_not_end_with_one_text_of_a_user_is_none_for_it(path: str, where: str, value: Any) -> None:
    assert asked(changed(path, where, value), path) == "not-text"


@pytest.mark.parametrize(("path", "body"), [("/v1/completions", {"model": "m", "prompt": QUESTION}),
                                            ("/v1/embeddings", {"model": "m", "input": QUESTION}),
                                            (TITAN, {"inputText": QUESTION})])  # fmt: skip
def test_apis_without_turns_are_none_for_it(path: str, body: dict[str, Any]) -> None:
    assert asked(body, path) == "not-text"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (" \n", "empty"),
        ("word " * 20_000, "too-long"),
        ("What is the latest version?", "time-sensitive"),
        ("Who won today?", "time-sensitive"),
        ("Wie ist das Wetter heute?", "time-sensitive"),
        ("What does \ud83d mean?", "not-text"),
        ("如何重置我的密码?", "script"),
        ("What does привет mean?", "script"),
    ],
)
def test_questions_whose_vector_or_whose_answer_says_little_are_left_out(text: str, reason: str) -> None:
    assert asked(changed(CHAT, "messages.-1.content", text)) == reason


def test_time_words_are_words() -> None:
    assert isinstance(asked(changed(CHAT, "messages.-1.content", "What do you know of snow?")), Asked)


@pytest.mark.parametrize("member", ["tools", "functions"])
def test_tools_in_reach_leave_a_request_out_unless_they_are_admitted(member: str) -> None:
    body = changed(CHAT, member, [{"type": "function", "function": {"name": "f"}}])
    assert asked(body) == "tools"
    assert isinstance(asked(body, semantic=Semantic(enabled=True, admit=["tools"])), Asked)


@pytest.mark.parametrize(
    ("path", "where", "value"),
    [
        (CONVERSE, "toolConfig", {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {}}}}]}),
        (CONVERSE, "additionalModelRequestFields", {"tools": [{"name": "f", "input_schema": {}}]}),
        (CLAUDE, "tools", [{"name": "f", "input_schema": {}}]),
        (NOVA, "toolConfig", {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {}}}}]}),
        (GEMINI, "tools", [{"functionDeclarations": [{"name": "f"}]}]),
    ],
)
def test_tools_are_seen_wherever_an_api_has_them(path: str, where: str, value: Any) -> None:
    body = changed(path, where, value)
    assert asked(body, path) == "tools"
    assert isinstance(asked(body, path, semantic=Semantic(enabled=True, admit=["tools"])), Asked)


def test_words_of_time_are_known_in_other_scripts_too() -> None:
    body = changed(CHAT, "messages.-1.content", "现在几点?")
    assert asked(body, semantic=Semantic(enabled=True, admit=["other-scripts"])) == "time-sensitive"
    plain = changed(CHAT, "messages.-1.content", "如何重置我的密码?")
    assert isinstance(asked(plain, semantic=Semantic(enabled=True, admit=["other-scripts"])), Asked)


def test_letters_with_accents_are_latin() -> None:
    assert isinstance(asked(changed(CHAT, "messages.-1.content", "Où est le café Tiếng Việt? ½ – “x”")), Asked)


def test_time_words_may_be_admitted() -> None:
    body = changed(CHAT, "messages.-1.content", "Who won today?")
    assert isinstance(asked(body, semantic=Semantic(enabled=True, admit=["time-sensitive"])), Asked)


def test_a_key_of_ones_own_leaves_a_request_out() -> None:
    dialect = dialect_of("POST", CHAT)
    assert dialect is not None
    raw = json.dumps(BODIES[CHAT]).encode()
    settings = default_settings(Cache(), "Credential", lambda request, standard: standard)
    found = read(
        dialect=dialect,
        request=dialect.parse(canonical.decode(raw), raw, CHAT),
        settings=settings,
        semantic=Semantic(enabled=True),
        head=Head("POST", CHAT, CIMultiDict()),
        upstream=("main",),
        tenant="red",
        namespace="",
        prefix="p:v1",
        embedding="e",
    )
    assert found == "custom-key"


def test_a_scope_is_no_key() -> None:
    dialect = dialect_of("POST", CHAT)
    assert dialect is not None
    raw = json.dumps(BODIES[CHAT]).encode()
    settings = dataclasses.replace(default_settings(Cache(), "Credential", None), policy="p")
    digest = key.digest(
        dialect=dialect,
        request=dialect.parse(canonical.decode(raw), raw, CHAT),
        settings=settings,
        head=Head("POST", CHAT, CIMultiDict()),
        upstream=("main", "openai", "https://x"),
        tenant="red",
        namespace="",
    )
    assert digest != scope(BODIES[CHAT])


ANSWERS: list[tuple[str, Any, str | None]] = [
    (CHAT, {"choices": [{"message": {"content": "So."}}]}, "So."),
    (CHAT, {"choices": [{"message": {"content": "So."}}, {"message": {"content": "Or so."}}]}, None),
    (CHAT, {"choices": [{"message": {"content": None, "tool_calls": [{}]}}]}, None),
    (CHAT, {"choices": []}, None),
    (CHAT, None, None),
    (MESSAGES, {"content": [{"type": "thinking", "thinking": "…"}, {"type": "text", "text": "So."}]}, "So."),
    (MESSAGES, {"content": [{"type": "text", "text": "So."}, {"type": "tool_use", "id": "1"}]}, None),
    (MESSAGES, {"content": []}, None),
    (
        RESPONSES,
        {"output": [{"type": "reasoning"}, {"type": "message", "content": [{"type": "output_text", "text": "So."}]}]},
        "So.",
    ),
    (RESPONSES, {"output": [{"type": "function_call"}]}, None),
    (GEMINI, {"candidates": [{"content": {"parts": [{"text": "…", "thought": True}, {"text": "So."}]}}]}, "So."),
    (GEMINI, {"candidates": [{"content": {"parts": [{"functionCall": {}}]}}]}, None),
    (GEMINI, {"candidates": [{"content": {"parts": "So."}}]}, None),
    (CONVERSE, {"output": {"message": {"content": [{"reasoningContent": {}}, {"text": "So."}]}}}, "So."),
    (CONVERSE, {"output": {"message": {"content": [{"text": "So."}, {"toolUse": {"name": "f"}}]}}}, None),
    (CONVERSE, {"output": {"message": {"content": [{"citationsContent": {}}]}}}, None),
    (CONVERSE, {"output": {"message": {"content": []}}}, None),
    (CONVERSE, {"output": None}, None),
    (CONVERSE, None, None),
    (CLAUDE, {"type": "message", "content": [{"type": "text", "text": "So."}]}, "So."),
    (CLAUDE, {"type": "message", "content": [{"type": "tool_use", "id": "1"}]}, None),
    (NOVA, {"output": {"message": {"content": [{"text": "So."}]}}}, "So."),
    (TITAN, {"results": [{"outputText": "So."}]}, None),
]


@pytest.mark.parametrize(("path", "answer", "text"), ANSWERS)
def test_what_an_answer_says_is_its_one_text(path: str, answer: Any, text: str | None) -> None:
    dialect = dialect_of("POST", path)
    assert dialect is not None
    assert dialect.answer_text(answer) == text
