"""What the express lane says of a hit is what is true now, though it keeps the words."""

import math

from hypothesis import given
from hypothesis import strategies as st

from llmcache_gateway.entry import Entry
from llmcache_gateway.freshness import remaining, steady_seconds
from tests.gateway.conftest import StartGateway, manifest
from tests.gateway.provider import Provider
from tests.gateway.test_express import Answer, Client, body_of, connected, express, request

ASKED = request(body_of("one two three"))


def told(answer: Answer) -> tuple[str, str, str]:
    """Return what stands in a hit's head of its time: outcome, age, ttl."""
    ttl = next(part for part in answer.headers["Cache-Status"].split("; ") if part.startswith("ttl="))
    return answer.headers["X-LLMCache"], answer.headers["Age"], ttl


async def asked_often(client: Client, data: bytes = ASKED) -> None:
    for _ in range(3):
        await client.ask(data)


async def test_age_and_ttl_are_those_of_the_moment_however_the_clock_goes(start_gateway: StartGateway) -> None:
    stored = 1_000_000.25
    now = [stored]
    config = manifest(None, cache={"ttl": "10s"})
    async with start_gateway(config, clock=lambda: now[0]) as gateway, connected(gateway) as client:
        await asked_often(client)
        forth = [tenth / 10 for tenth in range(40)]
        for since in [*forth, *reversed(forth), 3.99, 9.9, 4.0, 0.0]:
            now[0] = stored + since
            age, ttl = math.floor(now[0] - stored), math.floor(stored + 10 - now[0])
            for _ in range(2):
                assert told(await client.ask(ASKED)) == ("HIT", str(age), f"ttl={ttl}")
        assert await express(gateway) > 2 * len(forth)


async def test_a_new_answer_under_the_same_key_is_told_of_as_new(start_gateway: StartGateway) -> None:
    now = [1_000_000.0]
    async with start_gateway(manifest(None), clock=lambda: now[0]) as gateway, connected(gateway) as client:
        await asked_often(client)
        now[0] += 5
        for _ in range(2):
            assert told(await client.ask(ASKED))[1] == "5"
        await client.ask(request(body_of("one two three"), "Cache-Control: no-cache"))
        for _ in range(3):
            assert told(await client.ask(ASKED))[1] == "0"


async def test_the_forms_of_one_entry_have_each_their_own_length_and_type(start_gateway: StartGateway) -> None:
    async with start_gateway(manifest(None)) as gateway, connected(gateway) as client:
        forms = [
            request(body_of("one two three", **more))
            for more in ({}, {"stream": True}, {"stream": True, "stream_options": {"include_usage": True}})
        ]
        first = [[await client.ask(form) for form in forms] for _ in range(3)][-1]
        for _ in range(3):
            for form, before in zip(forms, first, strict=True):
                answer = await client.ask(form)
                assert answer.body == before.body
                assert answer.headers["Content-Type"] == before.headers["Content-Type"]
        assert len({answer.headers["X-LLMCache-Key"] for answer in first}) == 1
        assert await express(gateway) >= 9


async def test_each_policy_tells_its_own_ttl_of_one_entry(start_gateway: StartGateway) -> None:
    policy = {"name": "brief", "match": {"headers": [{"name": "X-Team", "value": "b"}]}, "cache": {"ttl": "5s"}}
    cache = {"ttl": "1h", "key": {"ignoreHeaders": ["x-team"]}}
    config = manifest(None, cache=cache, policies=[policy])
    now = [1_000_000.0]
    async with start_gateway(config, clock=lambda: now[0]) as gateway, connected(gateway) as client:
        of_a, of_b = (request(body_of("one two three"), f"X-Team: {team}") for team in "ab")
        await asked_often(client, of_a)
        await asked_often(client, of_b)
        now[0] += 0.5  # within a second, whose head is kept
        for _ in range(3):
            assert told(await client.ask(of_a)) == ("HIT", "0", "ttl=3599")
            assert told(await client.ask(of_b)) == ("HIT", "0", "ttl=4")
        assert await express(gateway) >= 6


async def test_each_hit_is_counted_whether_its_head_was_written_or_kept(
    start_gateway: StartGateway, provider: Provider
) -> None:
    now = [1_000_000.0]
    async with (
        start_gateway(manifest(provider.base_url), clock=lambda: now[0]) as gateway,
        connected(gateway) as client,
    ):
        await client.ask(ASKED)
        now[0] += 0.5  # within a second, whose head is kept
        for _ in range(5):
            await client.ask(ASKED)
        assert await express(gateway) == 4
        for kind, tokens in (("input", 9), ("output", 4)):
            assert await gateway.metric(f'llmcache_saved_tokens_total{{kind="{kind}"}}') == 5 * tokens
        assert await gateway.metric('llmcache_hits_total{tier="memory"}') == 5


@given(
    stored=st.floats(0, 2e9),
    since=st.floats(-5, 1e6),
    fresh=st.floats(0, 1e6),
    ttl=st.floats(0, 1e6),
    share=st.floats(0, 0.999),
)
def test_nothing_that_is_told_changes_within_the_steady_time(
    stored: float, since: float, fresh: float, ttl: float, share: float
) -> None:
    entry = Entry("json", "application/json", [b"{}"], "m", stored, stored + fresh, stored + fresh)
    now = stored + since
    steady = steady_seconds(entry, now, ttl)
    assert 0 <= steady <= 1
    later = now + steady * share
    if later < now + steady - 1e-6:  # a clock's floats are as fine as that
        assert entry.age(later) == entry.age(now)
        assert math.floor(remaining(entry, later, ttl)) == math.floor(remaining(entry, now, ttl))
