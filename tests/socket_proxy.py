"""A real socket in front of a real server, which a test can make slow, silent, or break."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Literal

Fault = Literal["none", "refuses", "hangs", "slow", "cuts", "fails", "drops"]


@dataclass
class Proxy:
    """`fault` may change at any time. `refuses` ends every connection, `slow` holds each reply back, `hangs` as long
    as it is set; `cuts` ends the connection within a reply, `drops` within a request, `fails` gives HTTP's answer 500
    instead. `target` is the server's port.
    """

    target: int
    port: int = 0
    fault: Fault = "none"
    slow_seconds: float = 0.3
    only: bytes = b""
    """What a request must have in it for its reply to be held back: all, until a test says otherwise."""

    held: int = 0
    """How many replies are held back now: their requests have been answered by the server."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def holds(self, replies: int) -> None:
        """Return when so many replies are held back."""
        async with asyncio.timeout(20):
            while self.held != replies:  # noqa: ASYNC110 (only asking tells)
                await asyncio.sleep(0.01)

    async def reply(self, data: bytes, writer: asyncio.StreamWriter, request: bytes | bytearray) -> None:
        """Give a reply to what was last asked on its connection, as the fault has it."""
        if self.only in request:
            await self._hold_back()
        if self.fault == "refuses":
            writer.close()
            return
        if self.fault == "fails":
            data = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
        if self.fault == "cuts":
            data = data[: len(data) // 2]
        writer.write(data)
        await writer.drain()
        if self.fault == "cuts":
            writer.close()

    async def _hold_back(self) -> None:
        self.held += 1
        try:
            if self.fault == "slow":
                await asyncio.sleep(self.slow_seconds)
            while self.fault == "hangs":  # noqa: ASYNC110 (only asking tells)
                await asyncio.sleep(0.01)
        finally:
            self.held -= 1


@asynccontextmanager
async def running_proxy(target: int) -> AsyncIterator[Proxy]:
    proxy = Proxy(target)
    tasks: set[asyncio.Task[None]] = set()

    async def requests(reader: asyncio.StreamReader, there: asyncio.StreamWriter, last: bytearray) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                last[:] = data
                if proxy.fault == "drops":
                    there.write(data[: len(data) // 2])
                    break
                there.write(data)
        there.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        writers = [writer]
        try:
            if proxy.fault == "refuses":
                return
            back, there = await asyncio.open_connection("127.0.0.1", proxy.target)
            writers.append(there)
            last = bytearray()
            up = asyncio.create_task(requests(reader, there, last))
            tasks.add(up)
            up.add_done_callback(tasks.discard)
            with suppress(OSError):
                while data := await back.read(65536):
                    await proxy.reply(data, writer, last)
            up.cancel()
        except asyncio.CancelledError:
            pass
        finally:
            for one in writers:
                one.transport.abort()
            tasks.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await asyncio.sleep(0)  # a connection that was just taken begins, and can be ended
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
