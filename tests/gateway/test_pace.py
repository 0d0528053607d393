"""Streams from the cache, with the pauses that the provider made: in bounds, whole, and only where it is asked for."""

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from llmcache_gateway.dialects import dialect_of
from llmcache_gateway.dialects.base import Dialect, Request
from llmcache_gateway.entry import Entry
from llmcache_gateway.policy import Pace
from llmcache_gateway.record import Lifetime, Recording
from llmcache_gateway.replay import paced, replay
from tests.gateway.conftest import StartGateway, TestGateway, manifest
from tests.gateway.provider import Provider
from tests.gateway.test_command_line import address, serving
from tests.gateway.test_sdk import sdk

PAUSE = 0.05
BODY: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "a b c d"}]}
EVENTS = 10
"""Events of the provider's answer to it: a role, six words, the reason it ended, usage, DONE."""


def dialect() -> Dialect:
    found = dialect_of("POST", "/v1/chat/completions")
    assert found is not None
    return found


def asking(**more: Any) -> Request:
    return dialect().parse({**BODY, "stream": True, **more}, b"{}")


def recorded(*groups: tuple[float, list[bytes]]) -> Entry:
    """Return the entry of a stream whose events came in groups, each so many seconds after the beginning."""
    recording = Recording(dialect(), asking(), frozenset(), 10**6)
    for at, blocks in groups:
        recording.add_events(blocks, 100.0 + at)
    return recording.entry(content_type="text/event-stream", model="m", lifetime=Lifetime(0.0, 60.0, 0.0))


def pauses(entry: Entry) -> list[int]:
    return [int.from_bytes(entry.pauses[at : at + 2], "big") for at in range(0, len(entry.pauses), 2)]


def delta(text: str) -> bytes:
    return b'data: {"choices": [{"index": 0, "delta": {"content": "%s"}}]}' % text.encode()


USAGE = b'data: {"choices": [], "usage": {"total_tokens": 3}}'
DONE = b"data: [DONE]"


def test_the_pauses_between_events_are_recorded_and_none_within_what_came_together() -> None:
    entry = recorded((2.0, [delta("a"), delta("b")]), (2.5, [delta("c")]), (2.5004, [delta("d")]), (2.5012, [DONE]))
    assert pauses(entry) == [0, 0, 500, 0, 1]


def test_a_keep_alive_belongs_to_the_pause_and_a_clock_that_goes_back_makes_none() -> None:
    entry = recorded((0.0, [delta("a")]), (1.0, [b": ping"]), (2.0, [delta("b")]), (1.5, [delta("c")]), (90.0, [DONE]))
    assert pauses(entry) == [0, 2000, 0, 65_535]


def test_an_unstreamed_answer_has_no_pauses() -> None:
    recording = Recording(dialect(), asking(), frozenset(), 10**6)
    recording.add_body(b"{}")
    assert recording.entry(content_type="x", model="m", lifetime=Lifetime(0.0, 0.0, 0.0)).pauses == b""


def test_a_replay_has_the_pieces_in_which_the_stream_came() -> None:
    entry = recorded((0.0, [delta("a"), delta("b")]), (0.5, [delta("c")]), (0.8, [USAGE]), (0.9, [DONE]))
    _, pieces = paced(entry, dialect(), asking(stream_options={"include_usage": True}), Pace(1.0, 30.0))
    assert [pause for pause, _ in pieces] == pytest.approx([0.0, 0.5, 0.3, 0.1], abs=0.002)
    assert pieces[0][1] == delta("a") + b"\n\n" + delta("b") + b"\n\n"
    # What this client does not see makes its pause no shorter.
    _, pieces = paced(entry, dialect(), asking(), Pace(1.0, 30.0))
    assert [pause for pause, _ in pieces] == pytest.approx([0.0, 0.5, 0.4], abs=0.002)


@given(
    st.lists(st.tuples(st.floats(0, 100), st.integers(1, 3)), min_size=1, max_size=20),
    st.floats(0.001, 65),
    st.floats(0.001, 600),
    st.booleans(),
)
def test_whatever_was_recorded_a_paced_replay_is_the_replay_and_in_bounds(
    groups: list[tuple[float, int]], max_pause: float, max_total: float, usage: bool
) -> None:
    at = 0.0
    made = []
    for pause, count in groups:
        at += pause
        made.append((at, [delta("x")] * count))
    entry = recorded(*made, (at + 1, [USAGE]), (at + 2, [DONE]))
    request = asking(**({"stream_options": {"include_usage": True}} if usage else {}))
    content_type, pieces = paced(entry, dialect(), request, Pace(max_pause, max_total))
    assert (content_type, b"".join(piece for _, piece in pieces)) == replay(entry, dialect(), request)
    assert pieces[0][0] == 0
    assert all(pause > 0 for pause, _ in pieces[1:])
    assert sum(pause for pause, _ in pieces) <= max_total + 1e-6
    hidden = 1 if usage else 2
    assert all(pause <= max_pause * hidden + 1e-6 for pause, _ in pieces)


def config(provider: Provider, **replay: Any) -> dict[str, Any]:
    provider.chunk_seconds = PAUSE
    return manifest(provider.base_url, cache={"replay": {"pace": "Recorded", **replay}})


async def arrivals(gateway: TestGateway) -> tuple[str, str, list[float]]:
    """Ask for a stream with the official SDK; return what the cache did, the text, and when each chunk came."""
    async with sdk(gateway) as client:
        create = client.chat.completions.with_raw_response.create
        response = await create(model="gpt-4o", messages=BODY["messages"], stream=True)
        text, times = "", []
        async for chunk in response.parse():
            times.append(time.perf_counter())
            text += chunk.choices[0].delta.content or ""
    return response.headers["X-LLMCache"], text, times


async def settled(gateway: TestGateway) -> None:
    await gateway.running.reloader.current.store.flush()


async def test_sdk_clients_get_a_hit_as_slowly_as_the_miss_was(start_gateway: StartGateway, provider: Provider) -> None:
    async with start_gateway(config(provider)) as gateway:
        _, text, _ = await arrivals(gateway)
        await settled(gateway)
        for _ in range(3):
            outcome, again, times = await arrivals(gateway)
            assert (outcome, again) == ("HIT", text)
            # Eight chunks with seven pauses; the provider's were no shorter, ours may be cut to whole milliseconds.
            assert times[-1] - times[0] >= 7 * PAUSE * 0.9
        assert await gateway.metric("llmcache_express_total") == 0
        assert len(provider.calls) == 1


async def test_an_unstreamed_client_of_a_paced_entry_waits_for_nothing_and_takes_the_express_lane(
    start_gateway: StartGateway, provider: Provider
) -> None:
    async with start_gateway(config(provider)) as gateway:
        await arrivals(gateway)
        await settled(gateway)
        async with httpx.AsyncClient(base_url=gateway.url, timeout=20) as client:
            for _ in range(3):
                response = await client.post(
                    "/v1/chat/completions", json=BODY, headers={"Authorization": "Bearer sk-test"}
                )
                assert response.headers["X-LLMCache"] == "HIT"
        assert await gateway.metric("llmcache_express_total") == 2


async def test_bounds_shorten_what_the_provider_took(start_gateway: StartGateway, provider: Provider) -> None:
    async with start_gateway(config(provider, maxPause="1ms", maxTotal="2ms")) as gateway:
        _, text, first = await arrivals(gateway)
        await settled(gateway)
        outcome, again, times = await arrivals(gateway)
        assert (outcome, again) == ("HIT", text)
        assert times[-1] - times[0] < first[-1] - first[0]


async def test_without_the_setting_all_events_come_in_one_piece(
    start_gateway: StartGateway, provider: Provider
) -> None:
    provider.chunk_seconds = 0.01
    async with start_gateway(manifest(provider.base_url)) as gateway:
        for outcome in ("MISS", "HIT"):
            response = await gateway.post({**BODY, "stream": True})
            assert response.headers["X-LLMCache"] == outcome
            assert ("Content-Length" in response.headers) == (outcome == "HIT")
            await settled(gateway)


async def test_a_policy_paces_what_another_recorded(start_gateway: StartGateway, provider: Provider) -> None:
    config = manifest(
        provider.base_url,
        policies=[
            {
                "name": "demo",
                "match": {"headers": [{"name": "User-Agent", "value": "demo*"}]},
                "cache": {"replay": {"pace": "Recorded"}},
            }
        ],
    )
    provider.chunk_seconds = 0.01
    async with start_gateway(config) as gateway:
        await gateway.post({**BODY, "stream": True})
        await settled(gateway)
        plain = await gateway.post({**BODY, "stream": True})
        paced = await gateway.post({**BODY, "stream": True}, headers={"User-Agent": "demo/1"})
    assert [one.headers["X-LLMCache"] for one in (plain, paced)] == ["HIT", "HIT"]
    assert paced.content == plain.content
    assert paced.headers["Content-Type"] == plain.headers["Content-Type"]
    assert "Content-Length" in plain.headers
    assert paced.headers["Transfer-Encoding"] == "chunked"


async def test_a_stale_stream_is_refreshed_while_it_is_still_given(
    start_gateway: StartGateway, provider: Provider
) -> None:
    now = [1_800_000_000.0]
    spec = config(provider, maxPause="60s", maxTotal="60s")
    spec["spec"]["cache"] |= {"ttl": "10s", "staleWhileRevalidate": "1h"}
    async with start_gateway(spec, clock=lambda: now[0]) as gateway:
        await arrivals(gateway)
        await settled(gateway)
        now[0] += 20
        provider.chunk_seconds = 0.0
        outcome, text, _ = await arrivals(gateway)
        assert (outcome, text) == ("STALE", "answer 1 to a b c d")
        assert len(provider.calls) == 2


async def test_a_client_that_hangs_up_ends_the_replay(start_gateway: StartGateway, provider: Provider) -> None:
    async with start_gateway(config(provider, maxPause="60s", maxTotal="10m")) as gateway:
        provider.chunk_seconds = 0.3
        await gateway.post({**BODY, "stream": True})
        await settled(gateway)
        await gateway.running.reloader.current.drained()
        async with (
            httpx.AsyncClient(base_url=gateway.url, timeout=20) as client,
            client.stream("POST", "/v1/chat/completions", json={**BODY, "stream": True}) as response,
        ):
            assert response.headers["X-LLMCache"] == "HIT"
            assert gateway.running.reloader.current.in_flight == 1
        left = time.perf_counter()
        async with asyncio.timeout(10):
            await gateway.running.reloader.current.drained()
        assert time.perf_counter() - left < 0.3 * (EVENTS - 1)


async def test_on_sigterm_the_rest_of_a_paced_stream_comes_at_once(provider: Provider, tmp_path: Path) -> None:
    spec = config(provider, maxPause="60s", maxTotal="10m")
    provider.chunk_seconds = 0.4
    file = tmp_path / "llmcache.yaml"
    file.write_text(yaml.safe_dump(spec))
    async with (
        serving(file) as (process, lines),
        httpx.AsyncClient(base_url=address(lines, "gateway"), timeout=30) as client,
    ):
        first = await client.post("/v1/chat/completions", json={**BODY, "stream": True})
        started = time.perf_counter()
        async with client.stream("POST", "/v1/chat/completions", json={**BODY, "stream": True}) as response:
            assert response.headers["X-LLMCache"] == "HIT"
            process.send_signal(signal.SIGTERM)
            body = await response.aread()
        assert body == first.content
        assert time.perf_counter() - started < (EVENTS - 1) * 0.4
        assert await process.wait() == 0


@pytest.mark.parametrize(
    ("replay", "message"),
    [
        ({"maxPause": "1s"}, "remove them, or set pace: Recorded"),
        ({"pace": "Immediate", "maxTotal": "1s"}, "remove them, or set pace: Recorded"),
        ({"pace": "Recorded", "maxTotal": "0s"}, "must be longer than zero"),
    ],
)
async def test_bounds_that_have_no_effect_are_an_error(
    replay: dict[str, Any], message: str, start_gateway: StartGateway
) -> None:
    with pytest.raises(Exception, match=message):
        async with start_gateway(manifest(None, cache={"replay": replay})):
            pass
