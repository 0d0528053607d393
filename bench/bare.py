"""The least that aiohttp can do: `python -m bench.bare PORT` answers, `python -m bench.bare PORT URL` asks URL first.

The first is what a hit is measured beside, the second what a miss is: a client and a server of aiohttp with
nothing between them but the body.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable

import aiohttp
import uvloop
from aiohttp import web

ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "gpt-4o",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Open the settings, then choose a new one. " * 12},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 90, "completion_tokens": 120, "total_tokens": 210},
    }
).encode()
"""Whole and successful, so that a gateway stores it; about as long as the gateway's own echo of the bench's request."""

HEADERS = {"Content-Type": "application/json", "Cache-Control": "max-age=3600"}


async def _main(port: int, origin: str | None) -> None:
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        handler = _answer if origin is None else _proxy(session, origin)
        runner = web.ServerRunner(web.Server(handler, access_log=None))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()


async def _answer(request: web.BaseRequest) -> web.Response:
    await request.read()
    return web.Response(body=ANSWER, headers=HEADERS)


def _proxy(session: aiohttp.ClientSession, origin: str) -> Callable[[web.BaseRequest], Awaitable[web.Response]]:
    async def pass_on(request: web.BaseRequest) -> web.Response:
        body = await request.read()
        async with session.post(origin + request.raw_path, data=body, headers=HEADERS) as answer:
            return web.Response(status=answer.status, body=await answer.read(), headers=HEADERS)

    return pass_on


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None))
