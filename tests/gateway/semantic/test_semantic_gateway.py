"""Questions that mean the same share an answer, end to end through the gateway."""

import asyncio
import json
import logging
import sys
from typing import Any

import httpx
import pytest
from aiohttp import web

from tests.gateway.conftest import ADMIN, StartGateway, TestGateway, manifest
from tests.gateway.provider import Provider, completion
from tests.gateway.redis_stores import running
from tests.gateway.semantic.questions import DEBUG, RESET, SAME, ask_until_hit, chat, semantic, until

CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


async def is_taken_in(gateway: TestGateway, text: str) -> None:
    """Wait until a question that was answered is found by another that differs in a letter's case only."""
    await ask_until_hit(gateway, chat(text.upper()))


async def test_by_default_the_verifier_has_the_last_word(start_gateway: StartGateway, provider: Provider) -> None:
    config = manifest(provider.base_url, semantic={"enabled": True, "deadline": "5s"})
    async with start_gateway(config) as gateway:
        await gateway.post(chat(RESET))
        await ask_until_hit(gateway, chat(SAME))
        answer = await gateway.post(chat("How do I reset my router?"), headers=DEBUG)

    assert answer.headers["X-LLMCache"] == "MISS"
    assert answer.headers["X-LLMCache-Semantic"].startswith("verifier; similarity=0.")


@pytest.mark.parametrize("size", ["small", "large"])
async def test_a_verifier_that_a_reload_brings_judges_what_was_taken_in_before(
    size: str, start_gateway: StartGateway, provider: Provider
) -> None:
    async with start_gateway(semantic(provider)) as gateway:
        await gateway.post(chat(RESET))
        await ask_until_hit(gateway, chat(SAME))
        before = (await gateway.status())["revision"]
        gateway.rewrite(semantic(provider, semantic={"verifier": size, "threshold": 0.5}))

        async def is_reloaded() -> bool:
            return bool((await gateway.status())["revision"] != before)

        await until(is_reloaded)
        answer = await gateway.post(chat("How do I reset my router?"), headers=DEBUG)
        assert answer.headers["X-LLMCache-Semantic"].startswith("verifier; similarity=0.")
        assert (await gateway.post(chat(SAME))).headers["X-LLMCache"] == "HIT"


async def test_a_question_in_other_words_gets_the_answer(
    start_gateway: StartGateway, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with start_gateway(semantic(provider)) as gateway:
        first = await gateway.post(chat(RESET))
        assert first.headers["X-LLMCache"] == "MISS"
        answer = await ask_until_hit(gateway, chat(SAME), headers=DEBUG)
        assert answer.json() == first.json()
        assert answer.headers["X-LLMCache"] == "HIT"
        assert 0.7 <= float(answer.headers["X-LLMCache-Similarity"]) < 1
        assert answer.headers["X-LLMCache-Semantic"].startswith("served; similarity=0.")
        assert 'detail="semantic"' in answer.headers["Cache-Status"]
        assert answer.headers["X-LLMCache-Key"] == first.headers["X-LLMCache-Key"]
        logged = [getattr(record, "fields", {}) for record in caplog.records]
        assert {one.get("stored") for one in logged if one.get("semantic") == "served"} == {
            answer.headers["X-LLMCache-Key"]
        }
        assert len(provider.calls) == 1
        assert await gateway.metric('llmcache_hits_total{tier="semantic"}') == 1
        assert await gateway.metric('llmcache_semantic_lookups_total{mode="serve",outcome="served"}') == 1


@pytest.mark.parametrize(
    ("asked", "other"),
    [
        ("What does the emoji 🙂 mean?", "What does the emoji 😡 mean?"),
        ("What does the word año mean?", "What does the word ano mean?"),
        ("What is the absolute value of -5?", "What is the absolute value of 5?"),
        ("Where is my order 123456789012345678?", "Where is my order 123456789012345679?"),
    ],
)
async def test_what_the_model_cannot_see_is_not_the_same_question(
    asked: str, other: str, start_gateway: StartGateway, provider: Provider
) -> None:
    async with start_gateway(semantic(provider)) as gateway:
        await gateway.post(chat(asked))
        await is_taken_in(gateway, asked)
        assert (await gateway.post(chat(other))).headers["X-LLMCache"] == "MISS"


async def test_a_stream_is_answered_with_what_was_asked_unstreamed(
    start_gateway: StartGateway, provider: Provider
) -> None:
    async with start_gateway(semantic(provider)) as gateway:
        await gateway.post(chat(RESET))
        answer = await ask_until_hit(gateway, chat(SAME, stream=True))
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert "answer 1 to" in "".join(
            json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
            for line in answer.text.splitlines()
            if line.startswith("data: {") and json.loads(line[6:])["choices"]
        )


async def test_an_equal_request_is_an_exact_hit_still(start_gateway: StartGateway, provider: Provider) -> None:
    async with start_gateway(semantic(provider)) as gateway:
        await gateway.post(chat(RESET))
        answer = await gateway.post(chat(RESET))
        assert answer.headers["X-LLMCache"] == "HIT"
        assert "X-LLMCache-Similarity" not in answer.headers


@pytest.mark.parametrize(
    ("asked", "guard"),
    [
        ("How do I not reset my password?", "negation"),
        ("How do I reset my password in 5 minutes?", "number"),
        ("Which mountains are high?", "threshold"),
    ],
)
async def test_what_holds_two_questions_apart_is_counted_and_told(
    start_gateway: StartGateway, provider: Provider, asked: str, guard: str
) -> None:
    async with start_gateway(semantic(provider)) as gateway:
        await gateway.post(chat(RESET))
        await is_taken_in(gateway, RESET)
        answer = await gateway.post(chat(asked), headers=DEBUG)
        assert answer.headers["X-LLMCache"] == "MISS"
        assert answer.headers["X-LLMCache-Semantic"].startswith(f"{guard}; similarity=")
        assert await gateway.metric(f'llmcache_semantic_rejected_total{{guard="{guard}"}}') == 1
        assert await gateway.metric("llmcache_semantic_similarity_count") >= 2


async def test_shadow_decides_and_counts_but_serves_nothing(start_gateway: StartGateway, provider: Provider) -> None:
    async with start_gateway(semantic(provider, semantic={"mode": "shadow"})) as gateway:
        await gateway.post(chat(RESET))

        async def would_serve() -> bool:
            answer = await gateway.post(chat(SAME, seed=0), headers=DEBUG | {"Cache-Control": "only-if-cached"})
            assert answer.status_code == 504
            return await gateway.metric('llmcache_semantic_lookups_total{mode="shadow",outcome="served"}') > 0

        # The scope of what is asked has to be that of what was.
        await gateway.post(chat(RESET, seed=0))
        await until(would_serve)
        answer = await gateway.post(chat(SAME, seed=0), headers=DEBUG)
        assert answer.headers["X-LLMCache"] == "MISS"
        assert "X-LLMCache-Similarity" not in answer.headers
        assert answer.headers["X-LLMCache-Semantic"].startswith("served; similarity=0.")


async def test_the_same_last_message_in_another_conversation_is_never_a_hit(
    start_gateway: StartGateway, provider: Provider
) -> None:
    async with start_gateway(semantic(provider)) as gateway:
        before = [{"role": "user", "content": "Of my bank"}, {"role": "assistant", "content": "Yes?"}]
        for text in (RESET, SAME):
            await gateway.post(chat(text))
        await is_taken_in(gateway, RESET)
        answer = await gateway.post({"model": "gpt-4o", "messages": [*before, {"role": "user", "content": SAME}]})
        assert answer.headers["X-LLMCache"] == "MISS"
        assert (await gateway.post({"model": "gpt-4o-mini", **chat(SAME), "temperature": 0})).headers[
            "X-LLMCache"
        ] == "MISS"


async def test_a_client_that_wants_a_new_answer_gets_one(start_gateway: StartGateway, provider: Provider) -> None:
    async with start_gateway(semantic(provider)) as gateway:
        await gateway.post(chat(RESET))
        await ask_until_hit(gateway, chat(SAME))
        for directive in ("no-cache", "no-store", "max-age=0"):
            answer = await gateway.post(chat(SAME), headers={"Cache-Control": directive})
            assert answer.headers["X-LLMCache"] in ("MISS", "BYPASS"), directive


async def test_an_answer_that_is_too_old_for_a_client_is_told_as_that(
    start_gateway: StartGateway, provider: Provider
) -> None:
    async with start_gateway(semantic(provider)) as gateway:
        await gateway.post(chat(RESET))
        await ask_until_hit(gateway, chat(RESET.upper()))
        answer = await gateway.post(chat(SAME), headers=DEBUG | {"Cache-Control": "max-age=0"})

    assert answer.headers["X-LLMCache"] == "MISS"
    assert answer.headers["X-LLMCache-Semantic"].startswith("stale; similarity=0.")


async def test_where_there_is_nothing_to_compare_with_no_similarity_is_told(
    start_gateway: StartGateway, provider: Provider
) -> None:
    async with start_gateway(semantic(provider)) as gateway:
        assert (await gateway.post(chat(RESET), headers=DEBUG)).headers["X-LLMCache-Semantic"] == "none"


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ("How do I delete my data?", "How do you delete my data?"),
        ("What is 5?", "What is 5!"),
        ("What does it print?\nif x:\n    a()\nb()", "What does it print?\nif x:\n    a()\n    b()"),
    ],
)
async def test_what_is_nearly_written_the_same_and_asks_for_another_answer_is_no_hit(
    start_gateway: StartGateway, provider: Provider, stored: str, asked: str
) -> None:
    config = manifest(provider.base_url, semantic={"enabled": True, "deadline": "5s"})
    async with start_gateway(config) as gateway:
        await gateway.post(chat(stored))
        await ask_until_hit(gateway, chat(f" {stored}"))
        assert (await gateway.post(chat(asked))).headers["X-LLMCache"] == "MISS"


@pytest.mark.parametrize("by", ["keys", "all", "version"])
async def test_what_is_invalidated_answers_no_other_question(
    start_gateway: StartGateway, provider: Provider, by: str
) -> None:
    async with start_gateway(semantic(provider)) as gateway:
        first = await gateway.post(chat(RESET))
        await ask_until_hit(gateway, chat(SAME))
        wanted: dict[str, Any] = {"keys": [first.headers["X-LLMCache-Key"]], "all": True, "version": "v1"}
        async with httpx.AsyncClient() as client:
            answer = await client.post(f"{gateway.admin_url}/admin/v1/invalidate", json={by: wanted[by]}, headers=ADMIN)
        assert answer.status_code == 200
        assert (await gateway.post(chat(SAME))).headers["X-LLMCache"] == "MISS"


async def test_an_entry_that_is_refreshed_is_found_by_its_meaning_as_long_as_it_lives(
    start_gateway: StartGateway, provider: Provider
) -> None:
    now = [1_800_000_000.0]
    cache = {"ttl": "100s", "staleWhileRevalidate": "1000s"}
    async with start_gateway(semantic(provider, cache=cache), clock=lambda: now[0]) as gateway:
        await gateway.post(chat(RESET))
        await ask_until_hit(gateway, chat(SAME))
        now[0] += 200  # stale: of no use to who asks in other words
        assert (await gateway.post(chat(SAME), headers={"Cache-Control": "only-if-cached"})).status_code == 504
        assert (await gateway.post(chat(RESET))).headers["X-LLMCache"] == "STALE"

        async def is_refreshed() -> bool:
            return await gateway.metric('llmcache_refreshes_total{result="stored"}') == 1

        await until(is_refreshed)
        await ask_until_hit(gateway, chat(SAME))
        now[0] += 1000  # beyond the first entry's end, not beyond the second's
        assert (await gateway.post(chat(RESET))).headers["X-LLMCache"] == "STALE"
        await ask_until_hit(gateway, chat(SAME))


async def test_policies_switch_it_on_and_off(start_gateway: StartGateway, provider: Provider) -> None:
    config = semantic(
        provider,
        semantic={"enabled": False},
        policies=[{"name": "on", "match": {"models": ["gpt-4o"]}, "semantic": {"enabled": True}}],
    )
    async with start_gateway(config) as gateway:
        for model in ("gpt-4o", "other"):
            await gateway.post(chat(RESET, model=model))
        await ask_until_hit(gateway, chat(SAME))
        answer = await gateway.post(chat(SAME, model="other"), headers=DEBUG)
        assert answer.headers["X-LLMCache"] == "MISS"
        assert "X-LLMCache-Semantic" not in answer.headers


@pytest.mark.parametrize(
    "choice",
    [
        {"finish_reason": "length"},
        {"message": {"role": "assistant", "content": "I'm sorry, but I can't help with that."}},
        {"message": {"role": "assistant", "content": None, "tool_calls": [CALL]}, "finish_reason": "tool_calls"},
    ],
)
async def test_an_answer_that_is_none_for_others_is_stored_for_who_asks_the_same_only(
    start_gateway: StartGateway, provider: Provider, choice: dict[str, Any]
) -> None:
    async def behave(request: web.Request) -> web.Response:
        return web.json_response(completion(len(provider.calls), "gpt-4o", "So.", **choice))

    provider.behave = behave
    async with start_gateway(semantic(provider, cache={"storeAlso": ["truncated"]})) as gateway:
        await gateway.post(chat(RESET))
        assert (await gateway.post(chat(RESET))).headers["X-LLMCache"] == "HIT"

        async def left_out() -> bool:
            reasons = ("truncated", "refusal", "not-text-answer")
            counted = [await gateway.metric(f'llmcache_semantic_skipped_total{{reason="{one}"}}') for one in reasons]
            return sum(counted) == 1

        await until(left_out)
        assert (await gateway.post(chat(SAME))).headers["X-LLMCache"] == "MISS"


async def test_questions_in_scripts_that_the_model_does_not_know_are_like_no_others(
    start_gateway: StartGateway, provider: Provider
) -> None:
    async with start_gateway(semantic(provider)) as gateway:
        for text in ("如何重置我的密码?", "山有多高?", "Как сбросить пароль?", "Какой высоты эта гора?"):
            answer = await gateway.post(chat(text), headers=DEBUG)
            assert answer.headers["X-LLMCache"] == "MISS", text
            assert answer.headers["X-LLMCache-Semantic"] == "skipped; reason=script"
        assert await gateway.metric('llmcache_semantic_skipped_total{reason="script"}') == 4


async def test_replicas_share_what_they_take_in(
    start_gateway: StartGateway, provider: Provider, request: pytest.FixtureRequest
) -> None:
    redis = running("redis", request)
    config = semantic(
        provider,
        cache={"store": {"type": "redis"}},
        redis={"external": redis.external},
        tenancy={"isolation": "Shared"},
    )
    async with start_gateway(config) as one, start_gateway(config) as other:
        first = await one.post(chat(RESET))
        for gateway in (one, other):
            assert (await ask_until_hit(gateway, chat(SAME))).json() == first.json()
        async with start_gateway(config) as new:
            assert (await ask_until_hit(new, chat(SAME))).json() == first.json()


async def test_an_index_that_is_away_makes_misses(
    start_gateway: StartGateway, provider: Provider, redis_url: str
) -> None:
    # A Redis without the search module, and none at all.
    for url in (redis_url, "redis://127.0.0.1:9"):
        config = semantic(provider, semantic={"index": {"type": "redisSearch"}}, redis={"external": {"url": url}})
        async with start_gateway(config) as gateway:
            answer = await gateway.post(chat(RESET), headers=DEBUG)
            assert answer.headers["X-LLMCache"] == "MISS"
            assert answer.headers["X-LLMCache-Semantic"] == "no-index"
            assert (await gateway.post(chat(RESET))).headers["X-LLMCache"] == "HIT"


async def test_a_gateway_without_it_loads_none_of_it() -> None:
    program = (
        "import sys, llmcache_gateway.main, llmcache_gateway.app;"
        "heavy = {'numpy', 'usearch', 'tokenizers', 'onnxruntime', 'qdrant_client', 'llmcache_gateway.semantic.cache'};"
        "print(*(heavy & set(sys.modules)))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert out.strip() == b""
