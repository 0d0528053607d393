"""What holds end to end whichever index vectors are searched in, also when it is lost or fed with what is bad."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.gateway.conftest import StartGateway
from tests.gateway.provider import Provider
from tests.gateway.redis_stores import running
from tests.gateway.semantic.questions import DEBUG, RESET, SAME, ask_until_hit, chat, semantic, until
from tests.qdrant_server import running_qdrant
from tests.redis_search import running_search

RED, BLUE = {"Authorization": "Bearer red"}, {"Authorization": "Bearer blue"}


@dataclass
class Kind:
    """An index: what the manifest says of it and of what it needs, and what makes it lose everything."""

    index: dict[str, Any]
    more: dict[str, Any]
    lose: Callable[[], object]

    def manifest(self, provider: Provider, **index: Any) -> dict[str, Any]:
        return semantic(provider, semantic={"index": self.index | index}, **self.more)


@pytest.fixture(params=["inProcess", "redisSearch", "qdrant"])
async def kind(request: pytest.FixtureRequest) -> AsyncIterator[Kind]:
    if request.param == "inProcess":
        redis = running("redis", request)
        store = {"cache": {"store": {"type": "redis"}}, "redis": {"external": redis.external}}
        yield Kind({}, store, lambda: [one.command("FLUSHALL") for one in redis.primaries])
    elif request.param == "redisSearch":
        with running_search() as search:
            more = {"redis": {"external": search.external}}
            yield Kind({"type": "redisSearch"}, more, lambda: search.command("FLUSHALL"))
    else:
        async with running_qdrant() as qdrant:
            yield Kind({"type": "qdrant", "url": qdrant.url}, {}, qdrant.drop)


async def test_a_question_in_other_words_gets_the_answer_and_that_of_another_tenant_never(
    kind: Kind, start_gateway: StartGateway, provider: Provider
) -> None:
    async with start_gateway(kind.manifest(provider)) as gateway:
        first = await gateway.post(chat(RESET), headers=RED)
        assert (await ask_until_hit(gateway, chat(SAME), headers=RED)).json() == first.json()
        other = await gateway.post(chat(SAME), headers=BLUE | DEBUG)
        assert other.headers["X-LLMCache"] == "MISS"
        assert other.headers["X-LLMCache-Semantic"] == "none"


async def test_a_tenant_that_floods_it_with_look_alikes_takes_no_room_from_others_and_poisons_nothing(
    kind: Kind, start_gateway: StartGateway, provider: Provider
) -> None:
    async with start_gateway(kind.manifest(provider, entries=10, entriesPerTenant=3)) as gateway:
        asked = await gateway.post(chat(RESET), headers=BLUE)
        await ask_until_hit(gateway, chat(SAME), headers=BLUE)
        for number in range(15):
            await gateway.post(chat(f"{RESET} Attempt {number}."), headers=RED)
        await ask_until_hit(gateway, chat(f"{RESET} ATTEMPT 14."), headers=RED)
        assert (await ask_until_hit(gateway, chat(SAME), headers=BLUE)).json() == asked.json()


async def test_an_index_that_is_lost_makes_misses_until_the_question_is_asked_again(
    kind: Kind, start_gateway: StartGateway, provider: Provider
) -> None:
    async with start_gateway(kind.manifest(provider)) as gateway:
        await gateway.post(chat(RESET), headers=RED)
        await ask_until_hit(gateway, chat(SAME), headers=RED)
        kind.lose()
        assert (await gateway.post(chat(SAME), headers=RED)).headers["X-LLMCache"] == "MISS"

        async def is_found_again() -> bool:
            # An answer that was asked for before the loss was noticed is not served, so it is asked for again.
            await gateway.post(chat(SAME), headers=RED)
            held = RED | {"Cache-Control": "only-if-cached"}
            return (await gateway.post(chat(SAME.upper()), headers=held)).status_code == 200

        await until(is_found_again)


async def test_what_is_too_much_or_no_text_is_answered_by_the_provider_and_kept_out(
    kind: Kind, start_gateway: StartGateway, provider: Provider
) -> None:
    odd = {"too-long": f"{RESET} " * 4_000, "script": "如何重置我的密码?", "not-text": f"{RESET} \ud83d"}
    async with start_gateway(kind.manifest(provider)) as gateway:
        for reason, text in odd.items():
            raw = json.dumps(chat(text)).encode()
            assert [(await gateway.post(raw)).headers["X-LLMCache"] for _ in range(2)] == ["MISS", "HIT"]
            assert await gateway.metric(f'llmcache_semantic_skipped_total{{reason="{reason}"}}') >= 1
        await gateway.post(chat(RESET))
        await ask_until_hit(gateway, chat(SAME))
