"""Aliases in the store: what one leads to, and what no alias may lead to."""

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry

from llmcache_gateway.config import Judge, Semantic
from llmcache_gateway.entry import ALIAS_TYPE, Entry
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.semantic.aliases import Aliases, alias_key
from llmcache_gateway.semantic.suitability import Asked
from llmcache_gateway.stores import MemoryStore
from llmcache_gateway.stores.guarded import GuardedStore
from tests.gateway.semantic.caches import over
from tests.gateway.test_fail_open import SlowStore

NOW = 1_800_000_000.0
OWN = f"p:v1:red:{'0' * 64}"
STORED = f"p:v1:red:{'1' * 64}"
ASKED = Asked("scope", "Run the code `a b`")


def entry(**more: Any) -> Entry:
    given: dict[str, Any] = {
        "form": "json",
        "content_type": "application/json",
        "blocks": [b"{}"],
        "model": "m",
        "stored_at": NOW,
        "fresh_until": NOW + 60,
        "kept_until": NOW + 600,
    }
    return Entry(**(given | more))


def kept(clock: Callable[[], float] = lambda: NOW) -> tuple[GuardedStore, Aliases]:
    memory = MemoryStore(max_entries=100, max_bytes=2**20, clock=clock, evicted=lambda: None)
    store = GuardedStore(memory, timeout_seconds=1.0, metrics=Metrics(CollectorRegistry()), clock=clock)
    return store, Aliases(store, clock)


def remember(aliases: Aliases, key: str = STORED, asked: Asked = ASKED, **more: float) -> bool:
    given: dict[str, Any] = {"similarity": 0.7, "ttl": float("inf")} | more
    return aliases.remember(asked, OWN, key=key, entry=entry(), epoch=0, tags=(), **given)


async def found(aliases: Aliases, asked: Asked = ASKED, own: str = OWN) -> str | None:
    named = await aliases.find(asked, own, lambda _: True)
    return named.key if named is not None else None


async def test_an_alias_leads_to_its_entry() -> None:
    store, aliases = kept()
    assert remember(aliases)
    assert await found(aliases) is None  # it is not there
    store.put_soon(STORED, entry())
    assert await found(aliases) == STORED
    await aliases.forget(ASKED, OWN)
    assert await found(aliases) is None


async def test_blanks_do_not_matter_but_where_a_guard_says_so() -> None:
    store, aliases = kept()
    store.put_soon(STORED, entry())
    assert remember(aliases)
    assert await found(aliases, Asked("scope", " Run  the code\n`a b`")) == STORED
    assert await found(aliases, Asked("scope", "Run the code `a  b`")) is None


async def test_it_is_for_its_scope_and_tenant_only() -> None:
    store, aliases = kept()
    store.put_soon(STORED, entry())
    assert remember(aliases)
    assert await found(aliases, Asked("other", ASKED.text)) is None
    assert await found(aliases, own=OWN.replace("red", "blue")) is None
    assert await found(aliases, own=OWN.replace("v1", "v2")) is None


async def test_one_that_leads_to_another_tenants_entry_is_of_no_use() -> None:
    """Nobody writes such a one; but whoever could write into the store must not cross tenants by it."""
    store, aliases = kept()
    theirs = STORED.replace("red", "blue")
    store.put_soon(theirs, entry())
    assert remember(aliases, key=theirs)
    assert await found(aliases) is None


async def test_what_is_no_alias_is_none() -> None:
    store, aliases = kept()
    store.put_soon(STORED, entry())
    for blocks in ([b"[]"], [b"{"], [b'{"key":1,"text":"","similarity":0}'], [b"\xff"]):
        store.put_soon(alias_key(ASKED, OWN), entry(content_type=ALIAS_TYPE, blocks=blocks))
        assert await found(aliases) is None
    store.put_soon(alias_key(ASKED, OWN), entry())
    assert await found(aliases) is None


async def test_half_an_emoji_is_remembered_as_well() -> None:
    store, aliases = kept()
    store.put_soon(STORED, entry())
    asked = Asked("scope", "What is \ud83d?")
    assert remember(aliases, asked=asked, similarity=1.0000001)
    assert await found(aliases, asked) == STORED


async def test_none_is_kept_for_longer_than_the_client_allows() -> None:
    now = [NOW]
    store, aliases = kept(lambda: now[0])
    store.put_soon(STORED, entry())
    assert not remember(aliases, ttl=0.0)
    assert remember(aliases, ttl=10.0)
    assert await found(aliases) == STORED
    now[0] += 11
    assert await found(aliases) is None


async def test_nothing_is_remembered_of_an_entry_that_is_over() -> None:
    _, aliases = kept(lambda: NOW + 60)
    assert not remember(aliases)


async def test_a_store_that_is_slow_is_not_taken_for_an_embedding_model_that_is_away() -> None:
    cache, store, counted = over(SlowStore(3600.0), lambda: NOW)
    settings = Semantic(enabled=True, judge=Judge(), deadline="1ms")
    try:
        whys = [(await cache.look_up(ASKED, OWN, settings, lambda _: True)).why for _ in range(10)]
        assert whys == ["deadline"] * 10
        labels = {"store": "embedding", "op": "embed"}
        assert cache.circuits["embedding", "embed"] == "closed"
        assert not counted.get_sample_value("llmcache_store_errors_total", labels)
    finally:
        await cache.close()
        await store.close()
