"""Hooks: functions of the user's own on the request path, which may fail, stall and change at any time."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import yaml
from prometheus_client import CollectorRegistry

from llmcache_gateway.errors import ConfigError
from llmcache_gateway.hook_runner import HookLoader
from llmcache_gateway.metrics import Metrics
from tests.gateway.conftest import ADMIN, StartGateway, TestGateway, manifest
from tests.gateway.provider import Provider

SPEC = {"configMapRef": {"name": "my-hooks"}}
TYPES = "from llmcache_gateway.hooks import *\nimport asyncio, time\n"


def body(text: str = "hi", **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **more}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hooks").mkdir()
    return tmp_path / "hooks"


def write(folder: Path, code: str, file: str = "mine.py") -> None:
    (folder / file).write_text(TYPES + code)


def with_hooks(provider: Provider, **hooks: Any) -> dict[str, Any]:
    return manifest(provider.base_url, hooks={**SPEC, **hooks})


async def outcome(gateway: TestGateway, request: Any, **options: Any) -> str:
    response = await gateway.post(request, **options)
    assert response.status_code == 200
    return response.headers["X-LLMCache"]


async def errors(gateway: TestGateway, hook: str, reason: str) -> float:
    return await gateway.metric(f'llmcache_hook_errors_total{{hook="{hook}",reason="{reason}"}}')


async def test_a_key_of_a_hook_shares_entries_inside_its_tenant_only(
    start_gateway: StartGateway, provider: Provider, folder: Path
) -> None:
    write(folder, "async def build_key(request, default_key): return 'one for all'")
    async with start_gateway(with_hooks(provider), hooks=folder) as gateway:
        one, two = {"Authorization": "Bearer 1"}, {"Authorization": "Bearer 2"}
        assert await outcome(gateway, body("a"), headers=one) == "MISS"
        assert await outcome(gateway, body("b"), headers=one) == "HIT"
        assert await outcome(gateway, body("c", stream=True), headers=one) == "HIT"
        assert await outcome(gateway, body("a"), headers=two) == "MISS"
    assert len(provider.calls) == 2


async def test_a_hook_never_sees_a_credential(start_gateway: StartGateway, provider: Provider, folder: Path) -> None:
    write(
        folder,
        "async def build_key(request, default_key): request.members.clear(); return str(sorted(request.headers))\n"
        "async def pre_upstream(call): return Changes(headers={'X-Seen': ','.join(call.headers)})",
    )
    async with start_gateway(with_hooks(provider), hooks=folder) as gateway:
        assert await outcome(gateway, body(), headers={"Authorization": "Bearer 1", "x-api-key": "2"}) == "MISS"
    call = provider.calls[0]
    assert call["body"]["messages"] == body()["messages"]
    assert "authorization" not in call["headers"]["X-Seen"]
    assert "api-key" not in call["headers"]["X-Seen"]
    assert call["headers"]["Authorization"] == "Bearer 1"


@pytest.mark.parametrize("stream", [False, True])
async def test_pre_upstream_changes_what_goes_upstream(
    start_gateway: StartGateway, provider: Provider, folder: Path, stream: bool
) -> None:
    write(folder, "async def pre_upstream(call): return Changes({'max_tokens': 5}, ['user'], {'X-Mine': 'yes'})")
    async with start_gateway(with_hooks(provider), hooks=folder) as gateway:
        request = body(user="me", seed=1.50, stream=stream)
        assert await outcome(gateway, request) == "MISS"
        assert await outcome(gateway, request) == "HIT"
    call = provider.calls[0]
    assert call["body"]["max_tokens"] == 5
    assert "user" not in call["body"]
    assert call["headers"]["X-Mine"] == "yes"


@pytest.mark.parametrize(
    "changes",
    [
        "members={'stream': True}",
        "headers={'Authorization': 'x'}",
        "headers={'X-A': 'a\\r\\nX-B: b'}",
        "headers={'X-A': 'a\\0'}",
        "headers={'X A': 'a'}",
        "headers={'': 'a'}",
    ],
)
async def test_what_pre_upstream_may_not_change_is_refused_and_the_answer_not_stored(
    start_gateway: StartGateway, provider: Provider, folder: Path, changes: str
) -> None:
    write(folder, f"async def pre_upstream(call): return Changes({changes})")
    async with start_gateway(with_hooks(provider), hooks=folder) as gateway:
        assert [await outcome(gateway, body()) for _ in range(2)] == ["MISS", "MISS"]
        assert await errors(gateway, "pre_upstream", "unfit") == 2
        assert await gateway.metric('llmcache_store_skipped_total{reason="hook-failed"}') == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_pre_store_tags_shortens_and_vetoes(
    start_gateway: StartGateway, provider: Provider, folder: Path, stream: bool
) -> None:
    write(
        folder,
        "async def pre_store(candidate):\n"
        "    text = candidate.answer['choices'][0]['message']['content']\n"
        "    return Decision(veto='private' in text, ttl=99999 if 'long' in text else 60, tags=['mine'])",
    )
    async with start_gateway(with_hooks(provider), hooks=folder) as gateway:
        for text, left in (("short", 60), ("long", 3600)):
            request = body(text, stream=stream)
            response = await gateway.post(request, headers={"X-LLMCache-Tags": "theirs"})
            assert response.headers["X-LLMCache"] == "MISS"
            hit = await gateway.post(request)
            assert left - 10 < int(hit.headers["Cache-Status"].split("ttl=")[1].split(";")[0]) <= left
            found = await gateway.running.reloader.current.store.get(hit.headers["X-LLMCache-Key"])
            assert found is not None
            assert found.entry.tags == ["theirs", "mine"]
        assert [await outcome(gateway, body("private", stream=stream)) for _ in range(2)] == ["MISS", "MISS"]
        assert await gateway.metric('llmcache_store_skipped_total{reason="vetoed"}') == 2


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise RuntimeError('no')", "raised"),
        ("raise SystemExit", "raised"),
        ("raise asyncio.CancelledError", "raised"),
        ("await asyncio.sleep(60)", "stalled"),
        ("time.sleep(3)", "stalled"),
        ("return 5", "unfit"),
    ],
)
@pytest.mark.parametrize("name", ["build_key", "pre_upstream", "post_response", "pre_store"])
async def test_a_hook_that_fails_is_passed_over_and_counted_while_an_sdk_is_answered(
    start_gateway: StartGateway, provider: Provider, folder: Path, name: str, code: str, reason: str
) -> None:
    write(folder, f"async def {name}(*given):\n    {code}")
    deadline = "50ms" if reason == "stalled" else "5s"  # a busy machine is no stall
    async with start_gateway(with_hooks(provider, deadline=deadline), hooks=folder) as gateway:
        async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="sk-1", max_retries=0) as client:
            begun = time.monotonic()
            answer = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
            assert answer.choices[0].message.content == "answer 1 to hi"
            assert time.monotonic() - begun < 2.5  # it was not waited for
        expected = 0 if (name, reason) == ("post_response", "unfit") else 1
        for _ in range(50):
            if await errors(gateway, name, reason) == expected:
                break
            await asyncio.sleep(0.02)
        assert await errors(gateway, name, reason) == expected


async def test_a_hook_that_stalls_again_and_again_is_left_out_and_others_go_on(
    start_gateway: StartGateway, provider: Provider, folder: Path
) -> None:
    write(
        folder,
        "async def pre_store(candidate): time.sleep(5)\n"
        "async def pre_upstream(call): return Changes(headers={'X-Mine': 'yes'})",
    )
    async with start_gateway(with_hooks(provider), hooks=folder) as gateway:
        for number in range(5):
            assert await outcome(gateway, body(str(number))) == "MISS"
        assert await errors(gateway, "pre_store", "stalled") == 3
        assert await errors(gateway, "pre_store", "off") == 2
    assert all(call["headers"].get("X-Mine") == "yes" for call in provider.calls)


async def test_changed_files_are_in_force_within_two_seconds_and_bad_ones_are_refused(
    start_gateway: StartGateway, provider: Provider, folder: Path
) -> None:
    write(folder, "async def build_key(request, default_key): return 'all'")
    async with start_gateway(with_hooks(provider), hooks=folder) as gateway:
        assert [await outcome(gateway, body("a")), await outcome(gateway, body("b"))] == ["MISS", "HIT"]
        write(folder, "def build_key(request, default_key): return 'other'")
        assert gateway.running.reloader.check() is False
        assert "mine.py: build_key must be `async def" in (await gateway.status())["configError"]
        assert await outcome(gateway, body("c")) == "HIT"
        write(folder, "async def build_key(request, default_key): return 'other'")
        await asyncio.sleep(2)
        assert (await gateway.status())["configError"] is None
        assert [await outcome(gateway, body("a")), await outcome(gateway, body("b"))] == ["MISS", "HIT"]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"a.py": "raise RuntimeError('broken')"}, "a.py can't be loaded: RuntimeError: broken"),
        ({"a.py": "async def"}, "a.py can't be loaded: SyntaxError"),
        ({"a.py": "import sys; sys.exit(1)"}, "a.py can't be loaded: SystemExit"),
        ({"a.py": "async def pre_store(): pass"}, "a.py: pre_store must be `async def pre_store(candidate)`"),
        ({"a.py": "pre_store = 5"}, "a.py: pre_store must be `async def"),
        (dict.fromkeys(("a.py", "b.py"), "async def pre_store(c): pass"), "b.py and a.py both define pre_store"),
        ({"a.txt": ""}, "no hook is defined"),
    ],
)
async def test_hooks_that_cannot_be_loaded_are_a_configuration_error(
    start_gateway: StartGateway, provider: Provider, folder: Path, files: dict[str, str], says: str
) -> None:
    for name, code in files.items():
        write(folder, code, name)
    with pytest.raises(ConfigError, match=r"spec\.hooks") as refused:
        async with start_gateway(with_hooks(provider), hooks=folder):
            pass
    assert says in str(refused.value)


def test_a_manifest_with_hooks_and_no_folder_ends_the_program_with_2(tmp_path: Path) -> None:
    file = tmp_path / "cache.yaml"
    file.write_text(yaml.safe_dump(manifest(None, hooks=SPEC)))
    command = [sys.executable, "-m", "llmcache_gateway.main", "serve", "--config", str(file), "--port", "0"]
    command += ["--admin-port", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, env=dict(os.environ), check=False)
    assert ended.returncode == 2
    assert "spec.hooks: the gateway was given no folder with hooks: give --hooks DIR" in ended.stderr


@pytest.mark.parametrize("by", ["semantic", "policies"])
async def test_keys_of_a_hook_beside_questions_that_are_alike_are_a_configuration_error(
    start_gateway: StartGateway, provider: Provider, folder: Path, by: str
) -> None:
    on: Any = {"enabled": True}
    policy = {"name": "p", "match": {"models": ["x"]}, "semantic": on}
    config = with_hooks(provider)
    config["spec"] |= {by: on if by == "semantic" else [policy]}
    write(folder, "async def build_key(request, default_key): return default_key")
    with pytest.raises(ConfigError, match=r"spec\.semantic: the hook build_key says which requests are equal"):
        async with start_gateway(config, hooks=folder):
            pass
    write(folder, "async def pre_store(candidate): return None")
    async with start_gateway(config, hooks=folder) as gateway:
        assert await outcome(gateway, body()) == "MISS"


async def test_a_request_whose_key_a_hook_makes_is_invalidated_under_that_key(
    start_gateway: StartGateway, provider: Provider, folder: Path
) -> None:
    """It was looked for under the key that it would have without the hook, and nothing was found."""
    write(folder, "async def build_key(request, default_key): return 'one for all'")
    async with start_gateway(with_hooks(provider), hooks=folder) as gateway:
        assert await outcome(gateway, body("a")) == "MISS"
        selection = {"request": {"path": "/v1/chat/completions", "body": body("b"), "tenant": "anonymous"}}
        async with httpx.AsyncClient() as client:
            url = f"{gateway.admin_url}/admin/v1/invalidate"
            assert (await client.post(url, json=selection, headers=ADMIN)).json()["matched"] == 1
        assert await outcome(gateway, body("a")) == "MISS"


def test_hooks_that_are_refused_at_each_look_hold_on_to_no_more_each_time(folder: Path) -> None:
    """The error grew by the frames of each look, with all that these had, once a second."""
    write(folder, "def pre_store(candidate): return None")
    loader = HookLoader(Metrics(CollectorRegistry()))

    def frames() -> int:
        with pytest.raises(ConfigError, match="must be `async def pre_store") as refused:
            loader.hooks(folder, 1.0)
        return len(refused.traceback)

    frames()
    assert frames() == frames()
