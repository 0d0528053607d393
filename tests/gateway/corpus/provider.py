"""The provider of the corpus: it answers each request by the name of its entry, always the same, streamed or not."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from tests.gateway.corpus.case import Case
from tests.gateway.provider import serving

ENTRY = "x-corpus-entry"
"""The request header that names the entry."""

ASKED_FOR = "x-corpus-asked-for"
"""The request header under which calls are counted."""

SLOWLY: Final = "x-corpus-slowly"
"""The request header of who wants pauses in a stream."""

PAUSE_SECONDS: Final = 0.004


class CorpusProvider:
    """A provider of all APIs; `calls` counts what it was asked."""

    def __init__(self, cases: Iterable[Case]) -> None:
        self._cases = {case.id: case for case in cases}
        self.url = ""
        self.calls: Counter[str] = Counter()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        case = self._cases[request.headers[ENTRY]]
        streams = case.api.streams(request.path, body)
        if request.method != "POST" or streams is None:
            raise web.HTTPNotFound(text=request.path)
        self.calls[request.headers[ASKED_FOR]] += 1
        if not streams:
            return web.json_response(case.answer)
        response = web.StreamResponse(headers={"Content-Type": case.api.stream_type})
        await response.prepare(request)
        stream = case.stream(body)
        size = max(1, len(stream) // 7)  # so that events are cut anywhere
        for at in range(0, len(stream), size):
            await response.write(stream[at : at + size])
            if SLOWLY in request.headers:
                await asyncio.sleep(PAUSE_SECONDS)
        await response.write_eof()
        return response


@asynccontextmanager
async def running_corpus(cases: Iterable[Case]) -> AsyncIterator[CorpusProvider]:
    provider = CorpusProvider(cases)
    async with serving(provider.handle) as provider.url:
        yield provider
