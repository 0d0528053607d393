"""The load generator: wrk, with one thread and the connections that keep one worker busy."""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import httpx

from bench.servers import Server

CONNECTIONS = 32


@dataclass(frozen=True)
class Load:
    """What is asked: the same POSTs in turn, again and again."""

    name: str
    server: Server
    path: str
    bodies: list[str]
    folder: Path

    @property
    def url(self) -> str:
        return self.server.url + self.path

    async def warm(self) -> None:
        """Ask some twice, so that whatever caches has them; RuntimeError when the second answer is no hit."""
        async with httpx.AsyncClient(timeout=10) as client:
            for again in (False, True):
                for body in self.bodies[:20]:
                    response = await client.post(self.url, content=body, headers={"Content-Type": "application/json"})
                    response.raise_for_status()
                    if again and self.server.hit is not None:
                        name, value = self.server.hit
                        if response.headers.get(name) != value:
                            raise RuntimeError(f"{self.name}: asked again, no hit: {response.headers}")


class Measured(NamedTuple):
    """Requests per second, and the server's processor time for one in microseconds, which a busy machine bends less."""

    rate: float
    cpu: float


def measure(load: Load, seconds: int) -> Measured:
    """Ask for so many seconds; RuntimeError when any request failed, or was no hit where the server is a gateway."""
    script = load.folder / "post.lua"
    script.write_text(
        'wrk.method = "POST"\n'
        'wrk.headers["Content-Type"] = "application/json"\n'
        f"local bodies = {{{', '.join(json.dumps(body) for body in load.bodies)}}}\n"
        "local at = 0\n"
        "local requests = {}\n"
        # Made once: wrk's own time must not grow with the length of the body.
        "init = function() for i, body in ipairs(bodies) do requests[i] = wrk.format(nil, nil, nil, body) end end\n"
        "request = function() at = at % #requests + 1; return requests[at] end\n"
    )
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script), load.url]
    counted, hits = load.server.counted()
    cpu = load.server.cpu_seconds()
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        raise RuntimeError(f"{load.name}: requests failed:\n{out}")
    cpu = load.server.cpu_seconds() - cpu
    counted_since, hits_since = load.server.counted()
    if counted_since - counted != hits_since - hits:
        missed = counted_since - counted - (hits_since - hits)
        raise RuntimeError(f"{load.name}: {missed} of {counted_since - counted} answers were no hits")
    match = re.search(r"(\d+) requests in .*Requests/sec:\s+([0-9.]+)", out, re.DOTALL)
    if match is None:
        raise RuntimeError(f"{load.name}: wrk said nothing of its rate:\n{out}")
    return Measured(float(match[2]), cpu / int(match[1]) * 1e6)
