"""Where a request for Google's content is parted, and when its beginning is kept: pure."""

import json
from typing import Any

import pytest

from llmcache_gateway.canonical import decode
from llmcache_gateway.config import CachedContents
from llmcache_gateway.contents.google import Home, home_of, made
from llmcache_gateway.contents.owner import Account
from llmcache_gateway.hints import gemini
from llmcache_gateway.hints.contents import MAX_MAKING, Content, Contents
from llmcache_gateway.hints.prompt import Place

TOOLS = [{"functionDeclarations": [{"name": "f"}]}]
FILE = {"fileData": {"fileUri": "gs://b/x.pdf"}}


def says(words: str, role: str = "user") -> dict[str, Any]:
    return {"role": role, "parts": [{"text": words}]}


def places(body: dict[str, Any]) -> list[tuple[str, int]]:
    prompt = gemini.read_prompt(decode(json.dumps(body).encode()), ["whose"])
    return [(place.location, place.message) for place in prompt.places]


def stable(body: dict[str, Any], minimum: int = 100) -> list[tuple[str, int]]:
    prompt = gemini.read_prompt(decode(json.dumps(body).encode()), ["whose"])
    return [(place.location, place.message) for place in gemini.stable(prompt, minimum)]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"contents": [says("x")]}, []),
        ({"systemInstruction": says("s"), "contents": [says("x")]}, [("system", -1)]),
        ({"system_instruction": says("s"), "contents": [says("x")]}, [("system", -1)]),
        ({"systemInstruction": says("s"), "tools": TOOLS, "contents": [says("x")]}, [("system", -1)]),
        ({"tools": TOOLS, "toolConfig": {"a": 1}, "contents": [says("x")]}, [("tools", -1)]),
        ({"systemInstruction": None, "tools": [], "contents": [says("x")]}, []),
        ({"contents": [says("a"), says("b", "model"), says("c"), says("d")]}, [("message", 0), ("message", 2)]),
        ({"contents": [{"parts": [{"text": "without a role"}]}, says("d")]}, [("message", 0)]),
        ({"contents": [{"role": "user", "parts": [{"functionResponse": {"name": "f"}}]}, says("d")]}, []),
        ({"contents": [{"role": "user", "parts": []}, {"role": "user"}, says("f", "function"), says("d")]}, []),
    ],
)
def test_a_beginning_ends_before_the_contents_or_behind_what_a_user_says(
    body: dict[str, Any], expected: list[tuple[str, int]]
) -> None:
    assert places(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        {"systemInstruction": says("s"), "system_instruction": says("s"), "contents": [says("x")]},
        {"generationConfig": {"mediaResolution": "LOW"}, "contents": [says("x")]},
        {"generation_config": {"audio_timestamp": True}, "contents": [says("x")]},
        {"contents": "x"},
        {"contents": ["x"]},
        {},
    ],
)
def test_what_is_not_certain_is_not_parted(body: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        places(body)


def test_without_points_it_is_what_many_have_in_common() -> None:
    system, noted, question = says("s" * 300), says("noted", "model"), says("q")
    document, greeting = says("d" * 300), says("Hi there")
    assert stable({"systemInstruction": system, "contents": [question]}) == [("system", -1)]
    assert stable({"systemInstruction": says("short"), "contents": [question]}) == []
    # A document is kept too, but not what each conversation begins with otherwise.
    assert stable({"systemInstruction": system, "contents": [document, noted, question]}) == [
        ("message", 0),
        ("system", -1),
    ]
    assert stable({"systemInstruction": system, "contents": [greeting, noted, question]}) == [("system", -1)]
    assert stable({"contents": [document, noted, question]}) == [("message", 0)]
    named = {"role": "user", "parts": [FILE]}
    assert stable({"contents": [named, question]}, 4096) == [("message", 0)]


def test_both_parts_have_the_clients_bytes_and_nothing_twice() -> None:
    document = b'{ "parts":[{"text":"\\u00e9 1.50"}] }'
    system = b'{"parts": [ {"text":"s"} ]}'
    raw = (
        b'{"system_instruction": ' + system + b', "generationConfig":{"topK": 1.0},"contents" : [' + document
    ) + b',{"parts":[{"text":"q"}]}], "toolConfig":null,"labels":{}}'
    prompt = gemini.read_prompt(decode(raw), [])
    place = next(place for place in prompt.places if place.message == 0)
    creation, using = (
        gemini.creation(raw, place, model="models/m", ttl="60s"),
        gemini.using(raw, "cachedContents/x", place),
    )
    assert creation == (
        b'{"model":"models/m","ttl":"60s","systemInstruction":' + system + b',"contents":[' + document + b"]}"
    )
    assert using == (
        b'{"generationConfig":{"topK": 1.0},"contents":[{"parts":[{"text":"q"}]}],"labels":{},'
        b'"cachedContent":"cachedContents/x"}'
    )


@pytest.mark.parametrize(
    ("path", "home"),
    [
        ("/v1beta/models/gemini-3.8-flash", Home("v1beta", "", "models/gemini-3.8-flash")),
        ("/v1/models/m", Home("v1", "", "models/m")),
        (
            "/v1/projects/p/locations/l/publishers/google/models/m",
            Home("v1", "projects/p/locations/l/", "projects/p/locations/l/publishers/google/models/m"),
        ),
        ("/v1beta1/publishers/google/models/m", None),
        ("/v1/projects/p/locations/l/endpoints/7", None),
        ("/v1beta/tunedModels/m", None),
    ],
)
def test_a_models_contents_stand_beside_it(path: str, home: Home | None) -> None:
    for verb in ("generateContent", "streamGenerateContent?alt=sse"):
        assert home_of(f"{path}:{verb}") == home


@pytest.mark.parametrize(
    "answer",
    [
        b"{}",
        b"[]",
        b"{",
        b'{"name": 7}',
        b'{"name": "cachedContents/.."}',
        b'{"name": "cachedContents/x?key=y"}',
        b'{"name": "files/x"}',
        b'{"name": "projects/../locations/l/cachedContents/x"}',
        b'{"name": "projects/p/../q/locations/l/cachedContents/x"}',
    ],
)
def test_what_is_no_name_of_a_content_is_used_in_no_path(answer: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        made(answer)


def test_an_answer_without_counts_is_one_without_tokens() -> None:
    assert made(b'{"name": "cachedContents/x", "usageMetadata": {"totalTokenCount": "many"}}').tokens == 0


# --- What one gateway knows

ROUTE = ("main", "", "models/m")


def place(prefix: bytes, size: int = 9) -> Place:
    return Place("system", (), False, False, prefix, size)


LONG, SHORT = place(b"long"), place(b"short")


def known(**settings: Any) -> Contents:
    return Contents(CachedContents(**settings))


def test_a_prefix_is_wanted_once_it_came_often_enough_in_a_row() -> None:
    contents = known(after=3, idle="60s")
    assert [contents.choose([LONG], ROUTE, at).wanted for at in (0, 10, 20)] == [None, None, LONG]
    contents = known(after=3, idle="60s")
    assert [contents.choose([LONG], ROUTE, at).wanted for at in (0, 10, 70, 80, 90)] == [None, None, None, None, LONG]


def test_the_longest_that_is_there_is_used_and_a_longer_one_is_wanted_meanwhile() -> None:
    contents = known(after=2)
    contents.learn(SHORT.prefix, Content("one", 5, ends=600.0, used=0.0))
    contents.choose([LONG, SHORT], ROUTE, 1)
    chosen = contents.choose([LONG, SHORT], ROUTE, 2)
    assert chosen.wanted == LONG
    assert chosen.used is not None
    assert (chosen.used[0], chosen.used[1].name, chosen.used[1].used) == (SHORT, "one", 2)
    contents.begin(LONG.prefix)
    assert contents.choose([LONG, SHORT], ROUTE, 3).wanted is None, "it is being made"
    contents.learn(LONG.prefix, Content("two", 9, ends=600.0, used=0.0))
    chosen = contents.choose([LONG, SHORT], ROUTE, 4)
    assert chosen.used is not None
    assert (chosen.used[1].name, chosen.wanted) == ("two", None)


def test_one_that_is_about_to_end_is_not_used_any_more() -> None:
    contents = known(after=2)
    contents.learn(LONG.prefix, Content("one", 5, ends=100.0, used=0.0))
    assert contents.choose([LONG], ROUTE, 94).used is not None
    assert contents.choose([LONG], ROUTE, 96).used is None


def test_what_was_refused_is_not_wanted_for_a_while_and_a_route_not_at_all() -> None:
    contents = known(after=2, idle="1h")
    contents.choose([LONG], ROUTE, 0)
    contents.give_up(LONG.prefix, LONG.prefix, 600)
    assert contents.choose([LONG], ROUTE, 1).wanted is None
    assert contents.choose([LONG], ROUTE, 600).wanted == LONG
    contents.give_up(LONG.prefix, ROUTE, 900)
    contents.choose([SHORT], ROUTE, 601)
    assert contents.choose([SHORT], ROUTE, 602).wanted is None
    assert contents.choose([SHORT], ("another", "", "m"), 603).wanted == SHORT


def test_no_more_are_wanted_than_the_limit_and_a_few_at_a_time() -> None:
    few = known(after=2, limit=1)
    few.learn(SHORT.prefix, Content("one", 5, ends=600.0, used=0.0))
    assert [few.choose([LONG], ROUTE, at).wanted for at in (1, 2)] == [None, None]
    many = known(after=2)
    for number in range(MAX_MAKING):
        many.begin(b"%d" % number)
    assert [many.choose([LONG], ROUTE, at).wanted for at in (1, 2)] == [None, None]
    many.give_up(b"0", b"0", 0)
    assert many.choose([LONG], ROUTE, 3).wanted == LONG


def test_a_route_is_judged_by_its_last_five_contents() -> None:
    contents = known(after=2)
    assert [contents.judge(ROUTE, brought, 0) for brought in (-100.0, 500.0, -100.0, -100.0, -100.0)] == [False] * 5
    assert contents.paused(0) == {}
    assert [contents.judge(ROUTE, -1.0, 10) for _ in range(5)] == [False] * 4 + [True]
    assert contents.paused(10) == {ROUTE: 600}
    contents.choose([LONG], ROUTE, 20)
    assert contents.choose([LONG], ROUTE, 21).wanted is None
    assert contents.choose([SHORT], ROUTE, 611).wanted is None
    assert contents.choose([SHORT], ROUTE, 612).wanted == SHORT


def test_a_content_is_reckoned_by_its_uses_and_the_time_that_was_paid() -> None:
    account = Account("default", "main", read=0.1, storage=3.6, usd_per_token=0.0, must_pay=True)
    assert account.making(1000, 600) == pytest.approx(1600)
    assert account.brought(1000, uses=1, paid=600) == pytest.approx(-700)
    assert account.brought(1000, uses=2, paid=600) == pytest.approx(200)


def test_what_is_remembered_is_bounded() -> None:
    contents = known(after=2)
    for number in range(30_000):
        contents.choose([place(b"%d" % number)], ROUTE, 0)
        contents.give_up(b"%d" % number, b"%d" % number, 600)
        contents.judge(("main", "", f"{number}"), -1.0, 0)
    assert (len(contents._seen), len(contents._pauses), len(contents._trials)) == (20_000, 1000, 500)
