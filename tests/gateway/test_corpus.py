"""The same request through the official SDKs, with and without the gateway: equal objects, whatever it asks for.

Each test runs over the whole corpus (tests/gateway/corpus), against a provider that gives the same answer each time.
Nothing is left out of a comparison but what an entry names itself as `unsaid` or `unlike`: what its provider or the
SDK's helper says in an answer and not in a stream, which only matters where one is asked for after the other.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from llmcache_gateway.app import Options, running
from tests.gateway.conftest import manifest
from tests.gateway.corpus import CASES
from tests.gateway.corpus.asking import asker, clients, differences, exact, sync_asker, sync_clients
from tests.gateway.corpus.case import Case, Fate, without
from tests.gateway.corpus.provider import ASKED_FOR, ENTRY, SLOWLY, CorpusProvider, running_corpus

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # Google's SDK derives its client from aiohttp's, of which aiohttp warns whoever does.
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
]

SHAPED = (
    ("azure", "", ["dep-*"]),
    ("deepseek", "", ["deepseek-*"]),
    ("openrouter", "/api/v1", ["or/*"]),
    ("mistral", "/v1", ["mistral-*", "magistral-*"]),
    ("xai", "/v1", ["grok-*"]),
    ("groq", "/openai/v1", ["groq/*"]),
    ("fireworks", "/inference/v1", ["accounts/*"]),
)
"""Providers of OpenAI's shape: where each has its API, and its models."""

HELPED = [case for case in CASES if case.helped is not None]


@dataclass
class World:
    """A provider, a gateway in front of it, and the SDKs for both, which all tests share."""

    provider: CorpusProvider
    direct: dict[str, Any]
    cached: dict[str, Any]
    direct_sync: dict[str, Any]
    cached_sync: dict[str, Any]
    numbers: Iterator[int]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with running_corpus(CASES) as provider:
        options = Options(
            config=_config(tmp_path_factory.mktemp("corpus") / "llmcache.yaml", provider.url),
            secrets=None,
            redis_url=None,
            host="127.0.0.1",
            port=0,
            admin_port=0,
            admin_token="",
            tenant_key=b"tenant-key-of-the-tests",
            drain_seconds=5.0,
            environment={},
        )
        async with running(options, asyncio.Event()) as gateway:
            url = f"http://127.0.0.1:{gateway.port}"
            sdks = (clients(provider.url), clients(url), sync_clients(provider.url), sync_clients(url))
            yield World(provider, *sdks, count())
            for client in (*sdks[0].values(), *sdks[1].values()):
                closing = client.aclose() if hasattr(client, "aclose") else client.close()
                if closing is not None:
                    await closing
            for client in (*sdks[2].values(), *sdks[3].values()):
                client.close()


def _config(file: Path, url: str) -> Path:
    config = manifest(f"{url}/v1")
    upstreams = config["spec"]["upstreams"]
    upstreams[:0] = [
        {**upstreams[0], "name": provider, "provider": provider, "baseURL": url + root, "models": models}
        for provider, root, models in SHAPED
    ]
    upstreams += [
        {**upstreams[-1], "name": provider, "provider": provider, "baseURL": url}
        for provider in ("anthropic", "gemini", "vertex", "bedrock")
    ]
    match = {"headers": [{"name": SLOWLY, "value": "*"}]}
    config["spec"]["policies"] = [{"name": "paced", "match": match, "cache": {"replay": {"pace": "Recorded"}}}]
    file.write_text(yaml.safe_dump(config))
    return file


@dataclass
class Asked:
    """A case, and the ways to ask it: `direct`, and `cached` through the gateway, in a namespace of its own.

    `paced` asks with pauses between the events of a stream, and is given its hits with them, too.
    """

    case: Case
    direct: Any
    cached: Any
    direct_sync: Any
    cached_sync: Any
    paced: Any
    calls: Any

    @property
    def outcomes(self) -> tuple[str, str]:
        return self.case.fate.value

    def expect_calls(self, asked: int) -> None:
        """Check that of so many requests to the gateway exactly those went on that could not be hits."""
        assert self.calls() == (1 if self.case.fate is Fate.KEPT else asked)

    def as_streamed(self, answer: Any) -> Any:
        """Return an answer without what its provider leaves out of streams."""
        return without(answer, self.case.unsaid)


@pytest.fixture
def asked(request: pytest.FixtureRequest, world: World) -> Asked:
    case: Case = request.param
    number = f"n{next(world.numbers)}"
    direct = {ENTRY: case.id, ASKED_FOR: "nobody"}
    cached = {ENTRY: case.id, ASKED_FOR: number, "X-LLMCache-Namespace": number}
    name = case.api.sdk
    return Asked(
        case,
        asker(case, world.direct[name], direct),
        asker(case, world.cached[name], cached),
        sync_asker(case, world.direct_sync[name], direct),
        sync_asker(case, world.cached_sync[name], cached),
        asker(case, world.cached[name], cached | {SLOWLY: "please"}),
        lambda: world.provider.calls[number],
    )


def over(cases: tuple[Case, ...] | list[Case]) -> pytest.MarkDecorator:
    """Run a test for each of these cases."""
    return pytest.mark.parametrize("asked", cases, ids=[case.id for case in cases], indirect=True)


@over(CASES)
async def test_unstreamed_answers_are_the_providers_own(asked: Asked) -> None:
    _, own = await asked.direct.whole()
    for expected in asked.outcomes:
        outcome, answer = await asked.cached.whole()
        assert (outcome, differences(answer, own)) == (expected, [])
    asked.expect_calls(2)


@over(CASES)
async def test_streams_are_the_providers_own(asked: Asked) -> None:
    _, own = await asked.direct.stream()
    for expected in asked.outcomes:
        outcome, chunks = await asked.cached.stream()
        assert (outcome, differences(chunks, own)) == (expected, [])
    asked.expect_calls(2)


@over([case for case in CASES if case.fate is Fate.KEPT])
async def test_streams_from_the_cache_with_their_pauses_are_the_providers_own(asked: Asked) -> None:
    _, own = await asked.direct.stream()
    for expected in asked.outcomes:
        outcome, chunks = await asked.paced.stream()
        assert (outcome, differences(chunks, own)) == (expected, [])


@over(HELPED)
async def test_stream_helper_gives_the_same_events_and_the_same_answer(asked: Asked) -> None:
    own = await asked.direct.helper()
    for _ in range(2):
        assert differences(await asked.cached.helper(), own) == []
    asked.expect_calls(2)


@over(CASES)
async def test_unstreamed_client_gets_the_providers_own_answer_from_what_a_stream_left(asked: Asked) -> None:
    _, own = await asked.direct.whole()
    await asked.cached.stream()
    outcome, answer = await asked.cached.whole()
    assert outcome == asked.outcomes[1]
    assert differences(asked.as_streamed(answer), asked.as_streamed(own)) == []
    asked.expect_calls(2)


@over([case for case in CASES if case.api.pieced is None and case.helped is not None])
async def test_stream_helper_makes_the_providers_own_answer_from_what_an_unstreamed_call_left(asked: Asked) -> None:
    _, own = await asked.direct.helper()
    await asked.cached.whole()
    _, answer = await asked.cached.helper()
    uncommon = asked.case.unsaid | asked.case.unlike
    assert differences(without(answer, uncommon), without(own, uncommon)) == []
    asked.expect_calls(2)


@over([case for case in CASES if case.api.pieced is not None or case.helped is None])
async def test_streaming_client_gets_the_providers_own_answer_from_what_an_unstreamed_call_left(asked: Asked) -> None:
    _, own = await asked.direct.stream()
    await asked.cached.whole()
    outcome, chunks = await asked.cached.stream()
    assert outcome == asked.outcomes[1]
    if asked.case.api.pieced is not None:
        ours, theirs = (exact(asked.case.api.pieced([one["members"] for one in stream])) for stream in (chunks, own))
        assert differences(ours, theirs) == []
    asked.expect_calls(2)


@over(CASES)
async def test_sync_sdk_gets_the_same_as_from_the_provider(asked: Asked) -> None:
    def ask(asker: Any) -> list[Any]:
        answers: list[Any] = [asker.stream(), asker.stream(), asker.whole()]
        return [*answers, asker.helper()] if asked.case.helped is not None else answers

    own = await asyncio.to_thread(ask, asked.direct_sync)
    cached = await asyncio.to_thread(ask, asked.cached_sync)
    assert [outcome for outcome, _ in cached[:3]] == [*asked.outcomes, asked.outcomes[1]]
    assert differences([answer for _, answer in cached[:2]], [answer for _, answer in own[:2]]) == []
    assert differences(asked.as_streamed(cached[2][1]), asked.as_streamed(own[2][1])) == []
    assert differences(cached[3:], own[3:]) == []
    asked.expect_calls(len(cached))
