"""Questions that mean the same share an answer in every API that has turns, asked with the official SDKs."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from inspect import isawaitable
from typing import Any

import anthropic
import openai
import pytest
from botocore.exceptions import ClientError
from google.genai.errors import APIError

from tests.gateway.conftest import StartGateway, manifest
from tests.gateway.corpus import CASES, bedrock, chat, gemini, messages, responses, shaped
from tests.gateway.corpus.asking import asker, clients
from tests.gateway.corpus.case import Case, Json
from tests.gateway.corpus.provider import ASKED_FOR, ENTRY, CorpusProvider, running_corpus
from tests.gateway.providers.bedrock import converse_answer
from tests.gateway.semantic.questions import RESET, SAME, until

# Google's SDK derives its client from aiohttp's, of which aiohttp warns whoever does.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

REFUSED = (openai.APIStatusError, anthropic.APIStatusError, APIError, ClientError)
"""What the SDKs raise when only an entry would do, and there is none."""


def _texts(*said: str) -> list[Json]:
    """Return a conversation in texts, begun by the user."""
    return [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(said)]


def _parts(*said: str, parts: str = "content", model: str = "assistant") -> list[Json]:
    """Return one in lists of parts."""
    return [{"role": ("user", model)[at % 2], parts: [{"text": text}]} for at, text in enumerate(said)]


def _of_google(*said: str) -> list[Json]:
    return _parts(*said, parts="parts", model="model")


APIS: dict[str, tuple[str, Callable[..., Json]]] = {
    "chat": (chat.API.name, lambda *said: {"model": "gpt-6", "messages": _texts(*said)}),
    "a deployment of Azure's": (shaped.AZURE.name, lambda *said: {"model": "dep-1", "messages": _texts(*said)}),
    "responses": (responses.API.name, lambda *said: responses.ask(_texts(*said))),
    "messages": (messages.API.name, lambda *said: messages.ask() | {"messages": _texts(*said)}),
    "messages on Vertex": (messages.VERTEX.name, lambda *said: messages.ask() | {"messages": _texts(*said)}),
    "messages on Bedrock": (bedrock.CLAUDE.name, lambda *said: messages.ask() | {"messages": _texts(*said)}),
    "Gemini": (gemini.GEMINI.name, lambda *said: gemini.ask(_of_google(*said))),
    "Gemini on Vertex": (gemini.VERTEX.name, lambda *said: gemini.ask(_of_google(*said))),
    "Converse": (bedrock.CONVERSE.name, lambda *said: bedrock.ask() | {"messages": _parts(*said)}),
    "Nova on Bedrock": (bedrock.INVOKE.name, lambda *said: bedrock.nova(messages=_parts(*said))),
}
"""The API's name in the corpus, and what an SDK is asked with for a conversation."""


def _answered(api: str) -> Case:
    """Return an entry of the corpus that is kept, answered with one text."""
    first, *_ = cases = [one for one in CASES if one.api.name == api]
    if first.api in (bedrock.CONVERSE, bedrock.INVOKE):
        return replace(first, answer=converse_answer(bedrock.text("A cache keeps.")))
    return next(one for one in cases if one.name == "plain")


@asynccontextmanager
async def sdks(url: str) -> AsyncIterator[dict[str, Any]]:
    made = clients(url)
    try:
        yield made
    finally:
        for client in made.values():
            closing = client.aclose() if hasattr(client, "aclose") else client.close()
            if isawaitable(closing):
                await closing


def config(provider: CorpusProvider) -> Json:
    made = manifest(
        f"{provider.url}/v1",
        semantic={"enabled": True, "threshold": 0.7, "verifier": "none", "deadline": "5s"},
    )
    main = made["spec"]["upstreams"][0] | {"timeout": "20s"}
    made["spec"]["upstreams"] = [
        main | {"name": kind, "provider": kind, "baseURL": provider.url, "models": models}
        for kind, models in (
            ("azure", ["dep-*"]),
            ("anthropic", ["*"]),
            ("gemini", ["*"]),
            ("vertex", ["*"]),
            ("bedrock", ["*"]),
        )
    ] + [main]
    return made


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", APIS)
async def test_a_question_in_other_words_is_answered_and_in_another_conversation_it_is_not(
    name: str, streamed: bool, start_gateway: StartGateway
) -> None:
    api, asked = APIS[name]
    case = _answered(api)
    async with running_corpus([case]) as provider, start_gateway(config(provider)) as gateway, sdks(gateway.url) as sdk:

        async def ask(*said: str, **headers: str) -> tuple[str | None, Any]:
            known = {ENTRY: case.id, ASKED_FOR: "all"} | headers
            client = asker(replace(case, ask=asked(*said)), sdk[case.api.sdk], known)
            return await (client.stream() if streamed else client.whole())  # type: ignore[no-any-return]

        outcome, first = await ask(RESET)
        assert outcome == "MISS"
        found: list[tuple[str | None, Any]] = []

        async def is_found() -> bool:
            with suppress(*REFUSED):  # the question is taken in in the background
                found.append(await ask(SAME, **{"Cache-Control": "only-if-cached"}))
            return bool(found)

        await until(is_found)
        assert found == [("HIT", first)]
        assert provider.calls["all"] == 1
        assert await gateway.metric('llmcache_hits_total{tier="semantic"}') == 1

        outcome, _ = await ask("Of my bank", "Yes?", SAME)
        assert (outcome, provider.calls["all"]) == ("MISS", 2)
