"""The express lane: what it answers is what the request path answers, and whatever is odd is left to that."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from llmcache_gateway.express import MAX_SEEN_REQUESTS, Seen
from tests.gateway.conftest import StartGateway, TestGateway, manifest


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def said(self) -> str:
        return str(json.loads(self.body)["choices"][0]["message"]["content"])


class Client:
    """One connection, bytes in and answers out."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes, piece: int = 1 << 20) -> None:
        for at in range(0, len(data), piece):
            self._writer.write(data[at : at + piece])
            await self._writer.drain()
            await asyncio.sleep(0.001)

    async def answer(self) -> Answer:
        head = (await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), 10)).decode()
        if head.startswith("HTTP/1.1 100 "):
            return await self.answer()
        first, *lines = head.strip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        body = await self._reader.readexactly(int(headers["Content-Length"]))
        return Answer(int(first.split()[1]), headers, body)

    async def ask(self, data: bytes, piece: int = 1 << 20) -> Answer:
        await self.send(data, piece)
        return await self.answer()


@asynccontextmanager
async def connected(gateway: TestGateway) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.running.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


def body_of(text: str, **more: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": text}], **more}).encode()


def request(body: bytes, *headers: str, path: str = "/v1/chat/completions") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: gateway", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(body: bytes) -> bytes:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"


@pytest.fixture
async def echo(start_gateway: StartGateway) -> AsyncIterator[TestGateway]:
    async with start_gateway(manifest(None)) as gateway:
        yield gateway


async def express(gateway: TestGateway) -> float:
    return await gateway.metric("llmcache_express_total")


def without_time(answer: Answer) -> Answer:
    headers = {name: value for name, value in answer.headers.items() if name not in ("Date", "Age", "Cache-Status")}
    return Answer(answer.status, headers, answer.body)


@pytest.mark.parametrize("more", [{}, {"stream": True}], ids=["unstreamed", "streamed"])
async def test_the_lane_answers_as_the_request_path_does(echo: TestGateway, more: dict[str, Any]) -> None:
    asked = request(body_of("one two three", **more))
    async with connected(echo) as client:
        if not more:
            await client.ask(asked)
        else:
            await client.ask(request(body_of("one two three")))
        usual = await client.ask(asked)
        assert await express(echo) == 0
        fast = await client.ask(asked)
        assert await express(echo) == 1
        again = await client.ask(asked)
        assert await express(echo) == 2
    assert usual.headers["X-LLMCache"] == "HIT"
    assert without_time(usual) == without_time(fast) == without_time(again)
    assert "; hit; ttl=" in fast.headers["Cache-Status"]
    assert 'detail="memory"' in again.headers["Cache-Status"]


async def test_hits_of_the_lane_are_counted_like_others(echo: TestGateway) -> None:
    async with connected(echo) as client:
        for _ in range(5):
            await client.ask(request(body_of("hello")))
    labels = 'dialect="openai-chat",model="m",outcome="HIT",policy="default",version="v1"'
    assert await express(echo) == 3
    assert await echo.metric(f"llmcache_requests_total{{{labels}}}") == 4
    assert await echo.metric('llmcache_hits_total{tier="memory"}') == 4


async def test_requests_with_one_head_get_each_its_own_answer(echo: TestGateway) -> None:
    """Same head, bodies of equal and of other lengths, known and not: no answer is another's."""
    texts = ["aaa", "bbb", "a longer text", "bbb", "aaa", "ccc", "a longer text", "ccc", "aaa"]
    async with connected(echo) as client:
        for text in texts * 2:
            assert (await client.ask(request(body_of(text)))).said == f"echo: {text}"
        assert await express(echo) > 0


async def test_another_order_of_members_is_the_same_entry_on_the_lane_too(echo: TestGateway) -> None:
    body = json.loads(body_of("hello"))
    async with connected(echo) as client:
        for _ in range(2):
            await client.ask(request(body_of("hello")))
        turned = json.dumps(dict(reversed(body.items()))).encode()
        assert (await client.ask(request(turned))).headers["X-LLMCache"] == "HIT"
        assert await express(echo) == 1


@pytest.mark.parametrize("piece", [1, 7, 100, 140])
async def test_a_request_may_come_in_pieces(echo: TestGateway, piece: int) -> None:
    async with connected(echo) as client:
        for _ in range(2):
            await client.ask(request(body_of("hello")))
        for _ in range(3):
            assert (await client.ask(request(body_of("hello")), piece)).said == "echo: hello"


async def test_the_body_may_come_after_its_head(echo: TestGateway) -> None:
    """As httpx sends it: two writes."""
    asked = request(body_of("hello"))
    head = asked.index(b"\r\n\r\n") + 4
    async with connected(echo) as client:
        for _ in range(4):
            assert (await client.ask(asked, head)).said == "echo: hello"
        assert await express(echo) == 2


def odd_requests() -> Iterator[tuple[str, bytes]]:
    hello = body_of("hello")
    yield "pipelined", request(hello) + request(body_of("second"))
    yield "a request in a body", request(body_of("hello", user=request(hello).decode()))
    yield "chunked", chunked(hello)
    yield "expect", request(hello, "Expect: 100-continue")
    yield "empty lines first", b"\r\n\r\n" + request(hello)
    yield "another credential", request(hello, "Authorization: Bearer other")
    yield "no body", b"GET /v1/../models HTTP/1.1\r\nHost: gateway\r\n\r\n"
    yield "bad JSON", request(b"{" + hello)
    yield "duplicate member", request(b'{"model": "m", ' + hello[1:])
    yield "a length of its own case", request(hello).replace(b"Content-Length", b"content-length")


@pytest.mark.parametrize("odd", [bytes_ for _, bytes_ in odd_requests()], ids=[name for name, _ in odd_requests()])
@pytest.mark.parametrize("piece", [61, 1 << 20])
async def test_whatever_is_odd_is_answered_as_on_a_connection_of_its_own(
    echo: TestGateway, odd: bytes, piece: int
) -> None:
    count = 2 if odd.count(b"POST /v1") == 2 and b"second" in odd else 1
    async with connected(echo) as client:
        for _ in range(2):
            await client.ask(request(body_of("hello")))
            await client.ask(request(body_of("second")))
    async with connected(echo) as fresh:
        await fresh.send(odd)
        expected = [await fresh.answer() for _ in range(count)]
    async with connected(echo) as client:
        for _ in range(3):
            await client.ask(request(body_of("hello")))
        await client.send(odd, piece)
        for one in expected:
            answer = await client.answer()
            assert (answer.status, answer.body) == (one.status, one.body)
        for _ in range(2):
            assert (await client.ask(request(body_of("hello")))).said == "echo: hello"


async def test_two_lengths_in_one_head_are_refused_whatever_was_learned(echo: TestGateway) -> None:
    hello = body_of("hello")
    async with connected(echo) as client:
        for _ in range(3):
            await client.ask(request(hello))
        assert (await client.ask(request(hello, f"Content-Length: {len(hello)}"))).status == 400


async def test_other_headers_are_other_heads(echo: TestGateway) -> None:
    """A credential, a directive of the cache, a namespace: each is looked at, not taken for what is known."""
    hello = body_of("hello")
    async with connected(echo) as client:
        for _ in range(3):
            await client.ask(request(hello))
        for header in ("Authorization: Bearer a", "Cache-Control: no-cache", "X-LLMCache-Namespace: n", "x-unknown: 1"):
            assert (await client.ask(request(hello, header))).headers["X-LLMCache"] == "MISS", header
        debug = await client.ask(request(hello, "X-LLMCache-Debug: 1"))
        for _ in range(2):
            assert (await client.ask(request(hello, "X-LLMCache-Debug: 1"))).headers.keys() == debug.headers.keys()


async def test_the_lane_serves_nothing_stale(start_gateway: StartGateway) -> None:
    now = [1_000_000.0]
    async with start_gateway(manifest(None, cache={"ttl": "10s"}), clock=lambda: now[0]) as gateway:
        asked = request(body_of("hello"))
        async with connected(gateway) as client:
            for _ in range(3):
                await client.ask(asked)
            now[0] += 4
            aged = await client.ask(asked)
            assert (aged.headers["Age"], aged.headers["Cache-Status"].split("; ")[2]) == ("4", "ttl=6")
            assert await express(gateway) == 2
            now[0] += 7
            assert (await client.ask(asked)).headers["X-LLMCache"] == "MISS"
            assert (await client.ask(asked)).headers["Age"] == "0"


async def test_another_configuration_is_in_force_on_the_lane_at_once(start_gateway: StartGateway) -> None:
    config = manifest(None)
    async with start_gateway(config) as gateway:
        asked = request(body_of("hello"))
        async with connected(gateway) as client:
            for _ in range(3):
                await client.ask(asked)
            config["spec"]["prefix"]["version"] = "v2"
            gateway.rewrite(config)
            gateway.running.reloader.check()
            assert (await client.ask(asked)).headers["X-LLMCache"] == "MISS"
            answers = [await client.ask(asked) for _ in range(3)]
            assert answers[2].headers["X-LLMCache-Prefix"].endswith(":v2")
            assert await express(gateway) == 3


async def test_a_hit_too_long_for_the_lane_brings_no_request_of_an_older_configuration_back(
    start_gateway: StartGateway,
) -> None:
    """The first hit after a reload may pass the lane by: what the lane knew is out of force all the same."""
    config = manifest(None)
    async with start_gateway(config) as gateway, connected(gateway) as client:
        asked, long = request(body_of("hello")), request(body_of("hello", user="x" * 300_000))
        for _ in range(4):
            await client.ask(asked)
        config["spec"]["prefix"]["version"] = "v2"
        gateway.rewrite(config)
        gateway.running.reloader.check()
        for outcome in ("MISS", "HIT"):
            assert (await client.ask(long)).headers["X-LLMCache"] == outcome
        answer = await client.ask(asked)
        assert answer.headers["X-LLMCache"] == "HIT"
        assert "test:v2:" in answer.headers["Cache-Status"], answer.headers


async def test_the_lane_takes_no_larger_request_than_the_request_path(start_gateway: StartGateway) -> None:
    """White space makes no other key, but a body too large."""
    async with start_gateway(manifest(None, limits={"requestBytes": "1k"})) as gateway, connected(gateway) as client:
        for _ in range(3):
            await client.ask(request(body_of("hello")))
        assert (await client.ask(request(body_of("hello") + b" " * 2000))).status == 413


DAY = ["monday"]


def by_day(asked: Any, default_key: str) -> str:
    """Build a key that is another one tomorrow."""
    return f"{DAY[0]} {default_key}"


async def test_a_key_builder_is_asked_anew_for_a_request_that_the_lane_has_seen(start_gateway: StartGateway) -> None:
    cache = {"key": {"builder": f"{__name__}:by_day"}}
    async with start_gateway(manifest(None, cache=cache)) as gateway, connected(gateway) as client:
        for _ in range(4):
            await client.ask(request(body_of("hello")))
        DAY[0] = "tuesday"
        assert (await client.ask(request(body_of("hello")))).headers["X-LLMCache"] == "MISS"


async def test_a_key_that_was_taken_back_opens_the_lane_no_more(start_gateway: StartGateway, tmp_path: Path) -> None:
    secret = tmp_path / "secrets" / "keys" / "teams"
    secret.parent.mkdir(parents=True)
    secret.write_text("red: sk-red-one\nblue: sk-blue-one\n")
    config = manifest(None, tenancy={"keys": {"secretRef": {"name": "keys", "key": "teams"}}})
    red = request(body_of("hello"), "Authorization: Bearer sk-red-one")
    async with start_gateway(config, secrets=tmp_path / "secrets") as gateway, connected(gateway) as client:
        for _ in range(4):
            await client.ask(red)
        assert await express(gateway) == 2
        secret.write_text("blue: [sk-blue-one, sk-red-one]\n")  # now somebody else's
        gateway.running.reloader.check()
        answer = await client.ask(red)
        assert (answer.headers["X-LLMCache"], ":key-blue:" in answer.headers["X-LLMCache-Key"]) == ("MISS", True)
        await client.ask(red)
        await client.ask(red)
        secret.write_text("blue: sk-blue-one\n")
        gateway.running.reloader.check()
        assert (await client.ask(red)).status == 401


async def test_which_headers_count_is_asked_anew_of_another_configuration(start_gateway: StartGateway) -> None:
    """What a head's headers come to is kept with the head, but not beyond the settings that it was found for."""
    config = manifest(None, cache={"key": {"ignoreHeaders": ["x-trial"]}})
    one, other = (request(body_of("hello"), f"X-Trial: {trial}") for trial in ("one", "two"))
    async with start_gateway(config) as gateway, connected(gateway) as client:
        for outcome in ("MISS", "HIT", "HIT"):
            assert (await client.ask(one)).headers["X-LLMCache"] == outcome
        for _ in range(3):
            assert (await client.ask(other)).headers["X-LLMCache"] == "HIT"
        del config["spec"]["cache"]
        gateway.rewrite(config)
        gateway.running.reloader.check()
        for asked in (one, other):
            for outcome in ("MISS", "HIT", "HIT"):
                assert (await client.ask(asked)).headers["X-LLMCache"] == outcome


async def test_a_model_that_another_upstream_serves_now_is_no_hit_of_the_first(start_gateway: StartGateway) -> None:
    config = manifest(None)
    upstreams = config["spec"]["upstreams"]
    upstreams.append({"name": "second", "provider": "echo"})
    asked = request(body_of("hello"))
    async with start_gateway(config) as gateway, connected(gateway) as client:
        for _ in range(4):
            await client.ask(asked)
        upstreams[0]["models"] = ["others-*"]
        gateway.rewrite(config)
        gateway.running.reloader.check()
        assert (await client.ask(asked)).headers["X-LLMCache"] == "MISS"


async def test_a_very_long_head_is_not_remembered(echo: TestGateway) -> None:
    """A thousand of them would fill the memory."""
    long = [f"X-Forwarded-{number}: {'x' * 8000}" for number in range(5)]
    async with connected(echo) as client:
        answers = [await client.ask(request(body_of("hello"), *long)) for _ in range(3)]
    assert [answer.headers["X-LLMCache"] for answer in answers] == ["MISS", "HIT", "HIT"]
    assert await express(echo) == 0


async def test_requests_that_are_small_to_send_and_large_to_hold_do_not_fill_the_memory(echo: TestGateway) -> None:
    """500 of them took 700 MiB: each is some twenty thousand lists, and none of them counts for the key."""
    bodies = [body_of("hello", metadata={"number": number, "lists": [[]] * 15_000}) for number in range(50)]
    async with connected(echo) as client:
        for body in bodies:
            for _ in range(3):
                await client.ask(request(body))
    seen = [one.question.request.body for one in gc.get_objects() if isinstance(one, Seen)]
    held = [body for body in seen if body in bodies]
    assert 10 < len(held) < 50
    assert sum(map(len, held)) <= MAX_SEEN_REQUESTS
    assert bodies[-1] in held
