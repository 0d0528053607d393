"""The warm command, as a process against a real gateway."""

import asyncio
import json
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from llmcache_gateway.errors import ConfigError
from llmcache_gateway.warm.client import request_headers
from llmcache_gateway.warm.journal import Journal
from llmcache_gateway.warm.lines import Line, check_lines
from llmcache_gateway.warm.outcome import Outcome, outcome
from llmcache_gateway.warm.pace import MAX_WAIT_SECONDS, Pace, rate, wait_seconds
from tests.gateway.conftest import TestGateway
from tests.gateway.provider import Provider, completion
from tests.gateway.test_command_line import finish, start


def line(text: str = "Hi", **more: Any) -> str:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **more.pop("body", {})}
    return json.dumps({"path": "/v1/chat/completions", "body": body, **more})


def requests_file(folder: Path, *lines: str) -> Path:
    file = folder / "requests.jsonl"
    file.write_text("\n".join(lines) + "\n")
    return file


async def warm(gateway: TestGateway, file: Path, *more: str, **environment: str) -> tuple[int, str, str]:
    process = await start("warm", "--url", gateway.url, "--requests", str(file), *more, **environment)
    return await finish(process)


async def asked(provider: Provider, count: int) -> None:
    while len(provider.calls) < count:  # noqa: ASYNC110 (the provider tells nobody)
        await asyncio.sleep(0.01)


async def test_the_first_run_stores_and_the_second_finds_all_there(gateway: TestGateway, tmp_path: Path) -> None:
    file = requests_file(tmp_path, line("one"), "", line("two", body={"stream": True}), line("one"))
    code, out, err = await warm(gateway, file, "--concurrency", "1")
    assert (code, out) == (0, "2 stored, 1 already there, 0 failed\n")
    assert err == "3/3  2 stored, 1 there, 0 failed\n"
    code, out, _ = await warm(gateway, file)
    assert (code, out) == (0, "0 stored, 3 already there, 0 failed\n")


async def test_what_is_not_stored_counts_as_failed_with_its_reason(
    gateway: TestGateway, provider: Provider, tmp_path: Path
) -> None:
    async def behave(request: web.Request) -> web.StreamResponse:
        text = provider.calls[-1]["body"]["messages"][-1]["content"]
        if text == "broken":
            return web.json_response({"error": {"message": "no"}}, status=500)
        return web.json_response(completion(1, "m", text, finish_reason="length" if text == "cut" else "stop"))

    provider.behave = behave
    file = requests_file(
        tmp_path, line("fine"), line("cut"), line("broken"), line("x", headers={"Cache-Control": "no-store"})
    )
    code, out, _ = await warm(gateway, file)
    assert code == 1
    assert out.splitlines()[0] == "1 stored, 0 already there, 3 failed"
    assert {text.strip() for text in out.splitlines()[1:]} == {
        "1 × not stored: truncated",
        "1 × not stored: no-store",
        "1 × status 500",
    }


async def test_the_key_makes_the_tenant_and_a_lines_own_credential_wins(gateway: TestGateway, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-file\n")
    own = line("own", headers={"Authorization": "Bearer sk-own"})
    code, _, _ = await warm(gateway, requests_file(tmp_path, line("shared"), own), "--api-key-file", str(key))
    assert code == 0
    for text, credential, word in (("shared", "sk-file", "HIT"), ("own", "sk-own", "HIT"), ("own", "sk-file", "MISS")):
        body = {"model": "m", "messages": [{"role": "user", "content": text}]}
        answer = await gateway.post(body, headers={"Authorization": f"Bearer {credential}"})
        assert answer.headers["X-LLMCache"] == word


async def test_a_refusal_is_waited_out_and_repeated(gateway: TestGateway, provider: Provider, tmp_path: Path) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        provider.behave = None
        return web.json_response({"error": {"message": "slow down"}}, status=429, headers={"Retry-After": "1"})

    provider.behave = refuse
    began = asyncio.get_running_loop().time()
    code, out, _ = await warm(gateway, requests_file(tmp_path, line()))
    assert (code, out) == (0, "1 stored, 0 already there, 0 failed\n")
    assert asyncio.get_running_loop().time() - began >= 1
    assert len(provider.calls) == 2


async def test_the_rate_is_kept(gateway: TestGateway, tmp_path: Path) -> None:
    began = asyncio.get_running_loop().time()
    code, _, _ = await warm(gateway, requests_file(tmp_path, *(line(str(n)) for n in range(6))), "--rate", "5/s")
    assert code == 0
    assert asyncio.get_running_loop().time() - began >= 1.0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_run_that_was_cut_off_goes_on_with_what_was_not_in_flight(
    gateway: TestGateway, provider: Provider, tmp_path: Path, number: signal.Signals
) -> None:
    file = requests_file(tmp_path, *(line(str(n)) for n in range(30)))
    arguments = [
        "warm",
        "--url",
        gateway.url,
        "--requests",
        str(file),
        "--concurrency",
        "2",
        "--rate",
        "20/s",
        "--resume",
    ]
    process = await start(*arguments)
    await asyncio.wait_for(asked(provider, 8), 20)
    process.send_signal(number)
    code, out, _ = await finish(process)
    before = len(provider.calls)
    assert before < 30
    if number is signal.SIGTERM:
        assert code == 1
        assert f"{before} stored, 0 already there, 0 failed, {30 - before} not sent" in out
        assert "--resume" in out
    # What was in flight may be sent twice; it is a hit then, or a call that the kill cut off.
    code, out, _ = await finish(await start(*arguments))
    assert code == 0
    done = int(out.split(" done in an earlier run")[0].rsplit(" ", 1)[1])
    assert done >= before - 2
    texts = [call["body"]["messages"][-1]["content"] for call in provider.calls]
    assert set(texts) == {str(n) for n in range(30)}
    assert len(texts) <= 30 + 2
    assert not file.with_name("requests.jsonl.warm-state").exists()


async def test_a_resumed_run_repeats_what_failed_and_only_that(
    gateway: TestGateway, provider: Provider, tmp_path: Path
) -> None:
    async def fail(request: web.Request) -> web.StreamResponse:
        if provider.calls[-1]["body"]["messages"][-1]["content"] == "bad":
            return web.json_response({"error": {"message": "no"}}, status=500)
        return web.json_response(completion(1, "m", "fine"))

    provider.behave = fail
    file = requests_file(tmp_path, line("good"), line("bad"))
    assert (await warm(gateway, file, "--resume"))[0] == 1
    provider.behave = None
    code, out, _ = await warm(gateway, file, "--resume")
    assert (code, out) == (0, "1 stored, 0 already there, 0 failed, 1 done in an earlier run\n")


async def test_bad_lines_are_all_named_before_anything_is_sent(
    gateway: TestGateway, provider: Provider, tmp_path: Path
) -> None:
    file = requests_file(tmp_path, line(), "nonsense", '{"path": "/v1/x"}', line(pth=1))
    code, out, err = await warm(gateway, file)
    assert (code, out, provider.calls) == (2, "", [])
    lines = err.splitlines()
    assert len(lines) == 3
    assert f"{file}: line 2: not a JSON object" in lines[0]
    assert "line 3: 'body' is missing; expected {" in lines[1]
    assert "line 4: unknown member 'pth'" in lines[2]


async def test_requests_come_from_standard_input_too(gateway: TestGateway) -> None:
    command = ["warm", "--url", gateway.url + "/v1", "--requests", "-"]
    process = await start_with_input(*command)
    out, _ = await asyncio.wait_for(process.communicate((line() + "\n").encode()), 20)
    assert (process.returncode, out.decode()) == (0, "1 stored, 0 already there, 0 failed\n")


async def start_with_input(*arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-m", "llmcache_gateway.main", *arguments]
    return await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--url", "localhost", "--requests", "x"], "expected an address, such as http://127.0.0.1:4000"),
        (["--url", "http://h", "--requests", "/nowhere"], "/nowhere: can't be read: No such file"),
        (["--url", "http://h", "--requests", "x", "--rate", "fast"], "expected a rate, such as 5/s"),
        (["--url", "http://h", "--requests", "x", "--concurrency", "0"], "from 1 to 1000"),
        (["--url", "http://h", "--requests", "-", "--resume"], "--resume: say where to keep the state"),
    ],
)
async def test_a_wrong_command_line_exits_2_and_says_what_instead(arguments: list[str], says: str) -> None:
    code, _, err = await finish(await start("warm", *arguments))
    assert code == 2
    assert says in err


def test_a_journal_forgets_a_torn_line_and_refuses_another_source(tmp_path: Path) -> None:
    file = tmp_path / "state"
    journal = Journal(file, "a")
    for number in (1, 9, 900):
        journal.add(number)
    journal.close(finished=False)
    file.write_bytes(file.read_bytes() + b"12")
    again = Journal(file, "a")
    assert [again.done(number) for number in (1, 2, 9, 12, 900, 5000)] == [True, False, True, False, True, False]
    again.add(12)
    again.close(finished=False)
    third = Journal(file, "a")
    assert third.count == 4
    third.close(finished=False)
    with pytest.raises(ConfigError, match="of other requests or another gateway"):
        Journal(file, "b")
    file.write_text("something\n")
    with pytest.raises(ConfigError, match="is no state of warm"):
        Journal(file, "a")


def test_requests_are_spaced_evenly_and_lost_time_is_not_made_up() -> None:
    pace = Pace(rate("120/m"))
    assert [pace.take(10.0) for _ in range(3)] == [10.0, 10.5, 11.0]
    assert [pace.take(60.0) for _ in range(2)] == [60.0, 60.5]
    pace.hold(90.0)
    assert pace.take(61.0) == 90.0
    free = Pace(None)
    assert [free.take(5.0) for _ in range(2)] == [5.0, 5.0]


def test_waits_follow_retry_after_within_bounds() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert wait_seconds("3", 1, now) == 3
    assert wait_seconds("99999", 1, now) == MAX_WAIT_SECONDS
    assert wait_seconds("Thu, 01 Jan 2026 00:00:07 GMT", 1, now) == 7
    assert wait_seconds("Thu, 01 Jan 2015 00:00:07 GMT", 1, now) == 0
    assert [wait_seconds(None, attempt, now) for attempt in (1, 2, 3)] == [1, 2, 4]
    assert wait_seconds("soon", 2, now) == 2
    assert wait_seconds("Thu, 01 Jan 2026 00:00:99999999999 GMT", 2, now) == 2


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (200, {"X-LLMCache": "HIT", "Cache-Status": "llmcache; hit"}, Outcome("already there")),
        (200, {"X-LLMCache": "MISS", "Cache-Status": 'llmcache; fwd=miss; stored; key="a"'}, Outcome("stored")),
        (200, {"X-LLMCache": "MISS", "Cache-Status": 'llmcache; fwd=miss; key="stored"'}, Outcome("untold")),
        (
            200,
            {"X-LLMCache": "MISS", "Cache-Status": 'Edge; fwd=miss; stored, llmcache; fwd=miss; detail="too-large"'},
            Outcome("failed", "not stored: too-large"),
        ),
        (200, {}, Outcome("failed", "status 200 of something that is no LLMCache gateway")),
        (
            401,
            {"X-LLMCache": "BYPASS", "Cache-Status": 'llmcache; detail="invalid_api_key"'},
            Outcome("failed", "status 401: invalid_api_key"),
        ),
    ],
)
def test_the_gateways_headers_say_what_came_of_it(status: int, headers: dict[str, str], expected: Outcome) -> None:
    assert outcome(status, headers) == expected


def test_anthropics_requests_go_out_as_its_sdk_sends_them() -> None:
    headers = request_headers(Line(1, "/v1/messages", b"{}"), "k")
    assert headers == {"content-type": "application/json", "anthropic-version": "2023-06-01", "x-api-key": "k"}
    own = Line(1, "/v1/messages", b"{}", {"Api-Key": "mine", "Anthropic-Version": "2"})
    assert request_headers(own, "k") == {
        "api-key": "mine",
        "anthropic-version": "2",
        "content-type": "application/json",
    }


def test_googles_requests_go_out_as_its_sdk_sends_them() -> None:
    of_gemini = Line(1, "/v1beta/models/m:generateContent", b"{}")
    of_vertex = Line(1, "/v1/projects/p/locations/l/publishers/google/models/m:generateContent", b"{}")
    assert request_headers(of_gemini, "k")["x-goog-api-key"] == "k"
    assert request_headers(of_vertex, "k")["authorization"] == "Bearer k"


def test_an_empty_list_and_many_bad_lines_are_told_in_few_words() -> None:
    assert "no request in it" in check_lines([b"\n"])[1][0]
    problems = check_lines([b"x\n"] * 100)[1]
    assert len(problems) == 21
    assert problems[-1] == "and 80 further bad lines"


@pytest.mark.parametrize(
    ("name", "value"), [("X-Mine", "é"), ("Content-Length", "5"), ("transfer-encoding", "chunked")]
)
def test_a_header_that_can_t_be_sent_is_a_bad_line_and_no_run_that_ends_half_way(name: str, value: str) -> None:
    _, problems = check_lines([line(headers={name: value}).encode()])
    assert problems[0].startswith("line 1: 'headers' ")


async def test_a_terminal_gets_a_bar(gateway: TestGateway, tmp_path: Path) -> None:
    file = requests_file(tmp_path, line("one"), line("two"))
    ours, theirs = os.openpty()
    try:
        command = [sys.executable, "-m", "llmcache_gateway.main", "warm", "--url", gateway.url, "--requests", str(file)]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL, stderr=theirs)
        assert await asyncio.wait_for(process.wait(), 20) == 0
        shown = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert shown.startswith("\r[")
    assert shown.endswith(f"\r[{'#' * 30}] 2/2  2 stored, 0 there, 0 failed\x1b[K\r\n")


async def test_an_answer_that_another_request_got_counts_as_stored_only_when_it_is(
    gateway: TestGateway, provider: Provider, tmp_path: Path
) -> None:
    provider.chunk_seconds = 0.1
    file = requests_file(tmp_path, *[line("same", body={"stream": True})] * 4)
    code, out, _ = await warm(gateway, file)
    assert (code, out, len(provider.calls)) == (0, "4 stored, 0 already there, 0 failed\n", 1)


async def test_a_state_of_one_tenants_requests_is_not_taken_for_anothers(
    gateway: TestGateway, provider: Provider, tmp_path: Path
) -> None:
    async def fail(request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"message": "no"}}, status=500)

    provider.behave = fail
    file = requests_file(tmp_path, line("one", tenant="red"), line("two", tenant="blue"))
    assert (await warm(gateway, file, "--resume", "--tenant", "red"))[0] == 1
    code, _, err = await warm(gateway, file, "--resume", "--tenant", "blue")
    assert code == 2
    assert "is of other requests or another gateway" in err
    assert [call["body"]["messages"][0]["content"] for call in provider.calls] == ["one"]
