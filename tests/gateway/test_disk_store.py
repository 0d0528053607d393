"""The disk store's own promises: bounded, whole after a kill, and harmless when the file or the disk is not."""

import asyncio
import os
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from llmcache_gateway.entry import Entry
from llmcache_gateway.errors import StoreError
from llmcache_gateway.stores.disk import DiskStore
from tests.gateway.conftest import VALUES, StartGateway, manifest
from tests.gateway.test_command_line import address, serving

DISK: dict[str, Any] = {"store": {"type": "disk", "disk": {"bytes": "64Mi"}, "compressAbove": "Off"}}


def an_entry(text: str = "answer", size: int = 0) -> Entry:
    """Return an entry that no compression makes smaller."""
    now = time.time()
    return Entry("json", "application/json", [text.encode() + os.urandom(size)], "m", now, now + 30, now + 60)


@asynccontextmanager
async def disk(folder: Path, size: int = 4 * 2**20) -> AsyncIterator[DiskStore]:
    store = DiskStore(file=folder / "entries.sqlite", max_bytes=size, clock=time.time, values=VALUES)
    yield store
    await store.close()


async def test_entries_outlive_the_process(tmp_path: Path) -> None:
    async with disk(tmp_path) as store:
        await store.put("k", an_entry())
    async with disk(tmp_path) as store:
        found = await store.get("k")
        assert found is not None
        assert found.entry.blocks == [b"answer"]


async def test_the_file_never_outgrows_its_bound_and_the_newest_entry_is_there(tmp_path: Path) -> None:
    async with disk(tmp_path, 2**20) as store:
        for number in range(300):
            await store.put(f"k{number}", an_entry(size=number * 97 % 40_000))
            assert await store.get(f"k{number}") is not None
        assert await store.get("k0") is None
        assert (tmp_path / "entries.sqlite").stat().st_size <= 2**20


async def test_an_entry_larger_than_the_file_may_be_is_not_kept_and_drives_nothing_out(tmp_path: Path) -> None:
    async with disk(tmp_path, 2**20) as store:
        await store.put("small", an_entry())
        assert not store.fits("large", an_entry(size=2**20))
        await store.put("large", an_entry(size=2**20))
        assert await store.get("large") is None
        assert await store.get("small") is not None


async def test_a_file_that_is_no_database_is_kept_aside_and_a_new_one_begun(tmp_path: Path) -> None:
    (tmp_path / "entries.sqlite").write_bytes(b"nonsense" * 1000)
    async with disk(tmp_path) as store:
        await store.put("k", an_entry())
        assert await store.get("k") is not None
    assert (tmp_path / "entries.sqlite.corrupt").read_bytes().startswith(b"nonsense")


async def test_a_file_damaged_inside_fails_one_lookup_and_is_then_begun_anew(tmp_path: Path) -> None:
    file = tmp_path / "entries.sqlite"
    async with disk(tmp_path) as store:
        for number in range(300):
            await store.put(f"k{number}", an_entry(size=2000))
    whole = file.read_bytes()
    file.write_bytes(whole[:4096] + b"\xab" * (len(whole) - 4096))
    async with disk(tmp_path) as store:
        with pytest.raises(StoreError, match="malformed"):
            await store.get("k0")
        await store.put("k0", an_entry())
        assert await store.get("k0") is not None
    assert (tmp_path / "entries.sqlite.corrupt").exists()


async def test_a_value_that_is_no_entry_is_removed(tmp_path: Path) -> None:
    async with disk(tmp_path) as store:
        await store.put("k", an_entry())
    with sqlite3.connect(tmp_path / "entries.sqlite") as other:
        other.execute("UPDATE entries SET value = x'00ff'")
    other.close()
    async with disk(tmp_path) as store:
        with pytest.raises(StoreError):
            await store.get("k")
        assert await store.get("k") is None
        assert await store.delete("k") is False


async def test_the_gateway_keeps_entries_over_a_restart(start_gateway: StartGateway, tmp_path: Path) -> None:
    seen = []
    for _ in range(2):
        async with start_gateway(manifest(None, cache=DISK), data=tmp_path) as gateway:
            response = await gateway.post({"model": "m", "messages": [{"role": "user", "content": "hi"}]})
            seen.append(response.headers["X-LLMCache"])
    assert seen == ["MISS", "HIT"]


async def test_a_gateway_killed_amid_writes_leaves_whole_entries_only(tmp_path: Path) -> None:
    config = tmp_path / "llmcache.yaml"
    config.write_text(yaml.safe_dump(manifest(None, cache=DISK)))
    arguments = ("--data", str(tmp_path / "data"))
    environment = {"LLMCACHE_TENANT_KEY": "key"}

    async def ask(client: httpx.AsyncClient, number: int) -> httpx.Response:
        content = f"{number} " + "word " * 2000
        body = {"model": "m", "messages": [{"role": "user", "content": content}]}
        return await client.post("/v1/chat/completions", json=body)

    async with (
        serving(config, *arguments, **environment) as (process, lines),
        httpx.AsyncClient(base_url=address(lines, "gateway"), timeout=20) as client,
    ):
        first = [await ask(client, number) for number in range(50)]
        pending = [asyncio.create_task(ask(client, number)) for number in range(50, 90)]
        await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        await asyncio.gather(*pending, return_exceptions=True)
    assert [response.status_code for response in first] == [200] * 50
    async with (
        serving(config, *arguments, **environment) as (process, lines),
        httpx.AsyncClient(base_url=address(lines, "gateway"), timeout=20) as client,
    ):
        again = [await ask(client, number) for number in range(90)]
        metrics = (await client.get(address(lines, "admin") + "/metrics")).text
    assert [response.status_code for response in again] == [200] * 90
    contents = [response.json()["choices"][0]["message"]["content"] for response in again]
    assert all(str(number) in content for number, content in enumerate(contents))
    assert sum(response.headers["X-LLMCache"] == "HIT" for response in again) >= 40
    assert 'llmcache_store_errors_total{op="get",store="disk"}' not in metrics


async def test_a_full_disk_fails_writes_and_no_request(tmp_path: Path) -> None:
    """The kernel refuses the process files above a size, as a full disk would."""
    config = tmp_path / "llmcache.yaml"
    config.write_text(yaml.safe_dump(manifest(None, cache=DISK)))
    program = f"{sys.executable} -m llmcache_gateway.main"
    ports = "--port 0 --admin-port 0"
    serve = f"ulimit -f 200; exec {program} serve --config {config} --data {tmp_path}/data {ports}"
    process = await asyncio.create_subprocess_exec("bash", "-c", serve, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        lines: list[str] = []
        while not (lines and lines[-1].startswith("admin listens")):
            line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
            assert line
            lines.append(line.strip())
        async with httpx.AsyncClient(timeout=20) as client:
            for number in range(60):
                content = f"{number} " + "word " * 4000
                body = {"model": "m", "messages": [{"role": "user", "content": content}]}
                response = await client.post(address(lines, "gateway") + "/v1/chat/completions", json=body)
                assert response.status_code == 200
                assert str(number) in response.json()["choices"][0]["message"]["content"]
            metrics = (await client.get(address(lines, "admin") + "/metrics")).text
        assert 'llmcache_store_errors_total{op="put",store="disk"}' in metrics
    finally:
        process.kill()
        await process.wait()


async def test_a_folder_that_cannot_be_written_to_makes_misses(start_gateway: StartGateway, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    async with start_gateway(manifest(None, cache=DISK), data=tmp_path / "file") as gateway:
        for _ in range(2):
            response = await gateway.post({"model": "m", "messages": [{"role": "user", "content": "hi"}]})
            assert (response.status_code, response.headers["X-LLMCache"]) == (200, "MISS")
        assert await gateway.metric('llmcache_store_errors_total{op="get",store="disk"}') == 2
        assert "disk: " in (await gateway.status())["store"]["error"]
