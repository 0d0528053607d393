"""Live traffic: clients of the official SDK that ask on and on, streamed and not, and check every answer."""

import asyncio
import itertools
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import openai

CLIENTS: Final = 4

KNOWN: Final = 8
"""Questions that are asked again and again, between new ones."""

LONG_SECONDS: Final = 60.0
"""Longest wait for anything: what takes longer has failed."""


class Traffic:
    """What was answered so far. A wrong answer or an error ends the client that met it, and then the test."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []
        """What the cache did, for each answer that was right."""

        self._clients: list[asyncio.Task[None]] = []
        self._answered = asyncio.Condition()
        self._numbers = itertools.count()
        self._over = False

    async def more(self, number: int) -> Counter[str]:
        """Wait for that many further answers; return what the cache did for them."""
        since = len(self.outcomes)

        async def enough() -> bool:
            return len(self.outcomes) - since >= number

        await self.until(enough)
        return Counter(self.outcomes[since:])

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Wait, while there is traffic, until something holds."""
        try:
            async with asyncio.timeout(LONG_SECONDS):
                while not await holds():
                    self.check()
                    async with self._answered:
                        await self._answered.wait()
        finally:
            self.check()  # what a client met says more than that the time is up

    async def end(self) -> None:
        """Let each client get the answer that it waits for, and ask no more; raise what any met."""
        self._over = True
        await asyncio.gather(*self._clients)

    def check(self) -> None:
        """Raise what a client met, if any did."""
        for client in self._clients:
            if client.done():
                client.result()

    async def _ask_on(self, client: openai.AsyncOpenAI, streamed: bool) -> None:
        try:
            for turn in itertools.count():
                if self._over:
                    return
                number = next(self._numbers)
                text = f"known {number % KNOWN}" if turn % 3 else f"new {number}"
                streamed = not streamed
                self.outcomes.append(await ask(client, text, stream=streamed))
                async with self._answered:
                    self._answered.notify_all()
        finally:
            async with self._answered:
                self._answered.notify_all()


async def ask(client: openai.AsyncOpenAI, text: str, *, stream: bool) -> str:
    """Ask a question; return what the cache did. The answer must be whole, and one to this very question."""
    create: Any = client.chat.completions.with_raw_response.create
    response = await create(model="gpt-4o", messages=[{"role": "user", "content": text}], stream=stream)
    if stream:
        choices = [chunk.choices[0] async for chunk in response.parse() if chunk.choices]
        answer = "".join(choice.delta.content or "" for choice in choices)
        reason = choices[-1].finish_reason
    else:
        (choice,) = response.parse().choices
        answer, reason = choice.message.content, choice.finish_reason
    assert re.fullmatch(rf"answer \d+ to {re.escape(text)}", answer), (text, answer)
    assert reason == "stop"
    return str(response.headers["X-LLMCache"])


@asynccontextmanager
async def live_traffic(urls: Sequence[str]) -> AsyncIterator[Traffic]:
    """Ask gateways on and on for the length of the block; raise what any client met."""
    traffic = Traffic()
    clients = [
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-test", max_retries=0, timeout=20.0)
        for url in (urls[at % len(urls)] for at in range(CLIENTS))
    ]
    traffic._clients = [
        asyncio.create_task(traffic._ask_on(client, streamed=bool(at % 2))) for at, client in enumerate(clients)
    ]
    try:
        yield traffic
        traffic.check()
    finally:
        for task in traffic._clients:
            task.cancel()
        await asyncio.gather(*traffic._clients, return_exceptions=True)
        for client in clients:
            await client.close()
