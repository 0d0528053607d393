"""The program as it is run: lines, exit codes, signals."""

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from tests.gateway.conftest import manifest
from tests.gateway.provider import Provider

QUICKSTART = Path(__file__).parents[2] / "examples" / "01-quickstart" / "llmcache.yaml"
GOOD = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("LLMCACHE_")}


async def start(*arguments: str, **environment: str) -> Process:
    command = [sys.executable, "-m", "llmcache_gateway.main", *arguments]
    return await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, env=ENVIRONMENT | environment)


async def finish(process: Process) -> tuple[int, str, str]:
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def serving(config: Path, *more: str, **environment: str) -> AsyncIterator[tuple[Process, list[str]]]:
    """Start `serve` on free ports; yield the process and the lines it printed until both ports listened."""
    process = await start("serve", "--config", str(config), "--port", "0", "--admin-port", "0", *more, **environment)
    lines: list[str] = []
    try:
        assert process.stdout is not None
        while not (lines and lines[-1].startswith("admin listens")):
            line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
            assert line, await finish(process)
            lines.append(line.strip())
        yield process, lines
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def without_package(folder: Path, name: str) -> str:
    """Return a PYTHONPATH on which a package is missing that is installed."""
    absent = folder / "absent"
    absent.mkdir()
    (absent / f"{name}.py").write_text(f"raise ModuleNotFoundError(\"No module named '{name}'\", name='{name}')")
    return str(absent)


def address(lines: list[str], name: str) -> str:
    return next(line.split()[-1] for line in lines if line.startswith(f"{name} listens on"))


async def test_check_says_that_the_quickstart_is_in_order() -> None:
    code, out, err = await finish(await start("check", "--config", str(QUICKSTART)))
    assert (code, err) == (0, "")
    assert "LLMCache default/quickstart is in order" in out


async def test_check_exits_2_with_one_line_per_error(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(QUICKSTART.read_text().replace("ttl: 10m", "ttl: 10").replace("version: v1", "versoin: v1"))
    code, out, err = await finish(await start("check", "--config", str(file)))
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "spec.prefix.versoin: unknown field; did you mean 'version'?",
        "spec.prefix.version: required, but not set",
        "spec.cache.ttl: expected a duration, such as 60s or 1h30m or 7d, not 10",
    ]


@pytest.mark.parametrize(
    ("source", "url"), [("--redis-url", "localhost:6379"), ("LLMCACHE_REDIS_URL", "redis://u:hunter2@localhost:x")]
)
async def test_serve_exits_2_on_an_address_of_redis_it_cannot_use(source: str, url: str) -> None:
    arguments = ("serve", "--config", str(QUICKSTART), "--port", "0", "--admin-port", "0")
    given = await (start(*arguments, source, url) if source.startswith("--") else start(*arguments, **{source: url}))
    code, _, err = await finish(given)
    assert (code, err) == (2, f"{source}: expected an address, such as redis://127.0.0.1:6379/0\n")


@pytest.mark.parametrize("other", ["--port", "--admin-port"])
async def test_serve_on_a_port_that_is_taken_says_what_to_do(other: str) -> None:
    async with serving(QUICKSTART) as (_, lines):
        taken = address(lines, "gateway").rpartition(":")[2]
        ports = {"--port": "0", "--admin-port": "0"} | {other: taken}
        given = [part for name_and_port in ports.items() for part in name_and_port]
        code, _, err = await finish(await start("serve", "--config", str(QUICKSTART), *given))
    assert code == 1
    assert taken in err
    assert err.endswith("end what listens there, or give another --port or --admin-port\n")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"cache": {"store": {"type": "redis"}}, "redis": {"managed": {}}}, "spec.redis.managed: only an operator"),
        ({"nonsense": 1}, "spec.nonsense: unknown field"),
    ],
)
async def test_serve_exits_2_on_a_configuration_it_cannot_use(
    tmp_path: Path, change: dict[str, object], says: str
) -> None:
    file = tmp_path / "llmcache.yaml"
    file.write_text(yaml.safe_dump(manifest(None, **change)))
    code, out, err = await finish(await start("serve", "--config", str(file), "--port", "0", "--admin-port", "0"))
    assert (code, out) == (2, "")
    assert says in err


async def test_serve_exits_2_and_names_the_file_that_a_secret_is_missing_from(tmp_path: Path) -> None:
    config = manifest("http://127.0.0.1:9/v1")
    config["spec"]["upstreams"][0]["credential"] = {"secretRef": {"name": "openai", "key": "api-key"}}
    file = tmp_path / "llmcache.yaml"
    file.write_text(yaml.safe_dump(config))
    ports = ["--port", "0", "--admin-port", "0"]
    code, _, err = await finish(await start("serve", "--config", str(file), *ports))
    assert code == 2
    assert "spec.upstreams[0].credential.secretRef" in err
    assert "--secrets DIR" in err
    code, _, err = await finish(await start("serve", "--config", str(file), "--secrets", str(tmp_path), *ports))
    assert code == 2
    assert "openai/api-key can't be read: No such file or directory" in err


@pytest.mark.parametrize(("content", "reason"), [(None, "No such file or directory"), (b"\xff", "it is not UTF-8")])
async def test_a_file_that_cannot_be_read_is_named_once_with_the_reason(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    file = tmp_path / "llmcache.yaml"
    if content is not None:
        file.write_bytes(content)
    code, _, err = await finish(await start("check", "--config", str(file)))
    assert (code, err) == (2, f"{file}: can't be read: {reason}\n")


async def test_a_port_in_use_is_an_error_that_names_it() -> None:
    async with serving(QUICKSTART) as (_, lines):
        port = address(lines, "gateway").rsplit(":", 1)[1]
        code, _, err = await finish(await start("serve", "--config", str(QUICKSTART), "--port", port))
    assert code == 1
    assert port in err
    assert "Traceback" not in err


async def test_serve_prints_its_ports_the_token_and_what_is_not_in_force() -> None:
    async with serving(QUICKSTART) as (process, lines):
        assert any(line.startswith("admin token (random") for line in lines)
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 10)).decode().strip()
        assert line == "not in force without an operator: spec.gateway"


async def test_the_admin_token_comes_from_the_environment() -> None:
    async with serving(QUICKSTART, LLMCACHE_ADMIN_TOKEN="t0ken") as (_, lines):
        assert not any("admin token" in line for line in lines)
        async with httpx.AsyncClient(headers={"Authorization": "Bearer t0ken"}) as client:
            response = await client.get(address(lines, "admin") + "/admin/v1/status")
    assert response.json()["name"] == "quickstart"


async def test_sigterm_lets_requests_in_flight_finish_and_exits_0(tmp_path: Path, provider: Provider) -> None:
    provider.chunk_seconds = 0.1
    file = tmp_path / "llmcache.yaml"
    file.write_text(yaml.safe_dump(manifest(provider.base_url)))
    async with serving(file) as (process, lines), httpx.AsyncClient(timeout=20) as client:
        url = address(lines, "gateway") + "/v1/chat/completions"
        asked = asyncio.create_task(client.post(url, json={**GOOD, "stream": True}))
        await asyncio.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        response = await asked
        assert response.text.endswith("data: [DONE]\n\n")
        code, _, err = await finish(process)
    assert code == 0
    assert all(json.loads(line) for line in err.splitlines())


async def test_a_request_that_outlasts_the_drain_is_cut_off_when_it_is_over(tmp_path: Path) -> None:
    # It took twice as long, so that a pod with a long stream was killed instead of ending by itself.
    slow = manifest(None)
    slow["spec"]["upstreams"][0]["echo"] = {"delay": "60s"}
    file = tmp_path / "llmcache.yaml"
    file.write_text(yaml.safe_dump(slow))
    async with serving(file, "--drain", "4s") as (process, lines), httpx.AsyncClient(timeout=60) as client:
        asked = asyncio.create_task(client.post(address(lines, "gateway") + "/v1/chat/completions", json=GOOD))
        await asyncio.sleep(0.3)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        code, _, _ = await finish(process)
        assert 3 < time.monotonic() - began < 7
        with pytest.raises(httpx.HTTPError):
            await asked
    assert code == 0


async def test_log_lines_are_json_and_hold_no_prompt_answer_or_credential() -> None:
    async with serving(QUICKSTART) as (process, lines):
        body = {**GOOD, "messages": [{"role": "user", "content": "my-secret-prompt"}]}
        async with httpx.AsyncClient(timeout=20, headers={"Authorization": "Bearer my-secret-key"}) as client:
            for _ in range(2):
                await client.post(address(lines, "gateway") + "/v1/chat/completions", json=body)
        process.send_signal(signal.SIGTERM)
        _, _, err = await finish(process)
    assert "my-secret" not in err
    messages = [json.loads(line)["message"] for line in err.splitlines()]
    assert messages[:2] == ["CACHE MISS", "CACHE HIT"]


async def test_a_log_that_nobody_reads_holds_up_no_request() -> None:
    # The gateway stood still in the middle of a hit when the pipe behind its standard error was full.
    async with serving(QUICKSTART) as (process, lines), httpx.AsyncClient(timeout=20) as client:
        url, body = address(lines, "gateway") + "/v1/chat/completions", {**GOOD, "model": "m" * 128}
        for _ in range(1_000):  # a line each, of about 500 bytes; pipe and reader hold less than 300 kB
            assert (await client.post(url, json=body)).status_code == 200
        process.send_signal(signal.SIGTERM)
        _, _, err = await finish(process)
    assert [json.loads(line)["message"] for line in err.splitlines()][:1_000] == ["CACHE MISS"] + ["CACHE HIT"] * 999
