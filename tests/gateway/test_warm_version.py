"""Warming a version for the tenants whose requests they are, from what all gateways are asked, as a rollout does."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llmcache_gateway.errors import ConfigError
from llmcache_gateway.warm.hot import Answer, Asked, Hot, choose, merge
from tests.gateway.conftest import ADMIN_TOKEN, StartGateway, TestGateway
from tests.gateway.provider import Provider
from tests.gateway.test_command_line import finish, start
from tests.gateway.test_rollout import question, rollout, switch
from tests.gateway.test_trusted import ENVIRONMENT, KEYS, own, secrets
from tests.gateway.test_warm import line, requests_file

__all__ = ["secrets"]
RED, BLUE = ({"Authorization": f"Bearer sk-{name}-1"} for name in ("red", "blue"))
TOKEN = {"LLMCACHE_ADMIN_TOKEN": ADMIN_TOKEN}


def asked(digest: str, count: int, tenant: str = "t", error: int = 0) -> Asked:
    return Asked(tenant, "/v1/x", msgspec.Raw(b'{"q":1}'), count, digest, error)


def test_counts_of_one_request_are_added_up_and_order_what_comes_first() -> None:
    one = Answer([asked("a", 10), asked("b", 9, error=2), asked("c", 1)], "1")
    two = Answer([asked("c", 30), asked("b", 9, error=1)], "2")
    merged = merge([one, two])
    assert [(found.digest, found.count, found.error) for found in merged] == [("c", 31, 0), ("b", 18, 3), ("a", 10, 0)]


def test_one_gateway_under_two_addresses_counts_once() -> None:
    twice = [Answer([asked("a", 10)], "same") for _ in range(2)]
    assert [found.count for found in merge(twice)] == [10]


def test_requests_of_gateways_that_tell_no_digest_are_told_apart_by_what_they_are() -> None:
    other = Asked("t", "/v1/x", msgspec.Raw(b'{"q":2}'), 5)
    answers = [Answer([asked("", 1), other]), Answer([asked("", 2)])]
    assert [found.count for found in merge(answers)] == [5, 3]


def test_equal_digests_of_two_tenants_are_two_requests() -> None:
    assert len(merge([Answer([asked("a", 1, "red"), asked("a", 1, "blue")])])) == 2


def test_several_tenants_need_a_choice_and_the_choice_comes_before_the_limit() -> None:
    found = [asked("a", 9, "red"), asked("b", 8, "blue"), asked("c", 7, "blue")]
    hot = Hot(("http://g",), None, 1)
    with pytest.raises(ConfigError, match="choose one with --tenant, of blue, red; or fill each one's own"):
        choose(found, hot, None, as_tenant=False)
    assert json.loads(choose(found, hot, "blue", as_tenant=False)[0])["tenant"] == "blue"
    assert [json.loads(one)["tenant"] for one in choose(found, hot, None, as_tenant=True)] == ["red"]


async def run(gateway: TestGateway, *more: str, **environment: str) -> tuple[int, str, str]:
    return await finish(await start("warm", "--url", gateway.url, *more, **(TOKEN | environment)))


async def test_the_next_version_is_filled_from_all_gateways_for_each_tenant(
    start_gateway: StartGateway, provider: Provider, secrets: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"secrets": secrets, "environment": ENVIRONMENT}
    config = own(provider.base_url, tenancy=KEYS)
    async with start_gateway(config, **options) as gateway, start_gateway(config, **options) as other:
        for target, headers, text, times in (
            (gateway, RED, "shared", 4),
            (other, BLUE, "shared", 4),
            (gateway, RED, "both", 3),
            (other, RED, "both", 3),
            (other, BLUE, "seldom", 2),
        ):
            for _ in range(times):
                await target.post(question(text), headers=headers)
        # Written otherwise, it is the same request to the cache.
        for _ in range(3):
            await other.post(dict(reversed(question("shared").items())), headers=RED)
        calls, summary = len(provider.calls), tmp_path / "termination"
        code, out, err = await run(
            gateway,
            *("--from-hot", gateway.admin_url, "--from-hot", other.admin_url, "--top", "3"),
            *("--version", "v2", "--as-tenant", "--summary", "json", "--summary-file", str(summary)),
            LLMCACHE_API_KEY="sk-not-sent",
        )
        assert (code, out.splitlines()[0]) == (0, "3 stored, 0 already there, 0 failed"), err
        told = json.loads(out.splitlines()[-1])
        assert told == json.loads(summary.read_text())
        assert told == {
            "complete": True,
            "total": 3,
            "stored": 3,
            "alreadyThere": 0,
            "failed": 0,
            "notSent": 0,
            "doneBefore": 0,
            "failures": {},
        }
        assert len(provider.calls) == calls + 3
        switch(gateway, own(provider.base_url, 100, tenancy=KEYS))
        for headers, text, outcome in (
            (RED, "shared", "HIT"),  # 4 and 3 times
            (RED, "both", "HIT"),  # 3 and 3 times
            (BLUE, "shared", "HIT"),  # 4 times
            (BLUE, "both", "MISS"),
            (BLUE, "seldom", "MISS"),
        ):
            answer = await gateway.post(question(text), headers=headers)
            assert (answer.headers["X-LLMCache"], answer.headers["X-LLMCache-Prefix"]) == (outcome, "test:v2")


async def test_a_version_is_filled_from_a_list_and_a_state_of_another_version_is_refused(
    start_gateway: StartGateway, provider: Provider, tmp_path: Path
) -> None:
    file = requests_file(
        tmp_path, line("one", tenant="anonymous"), line("two", tenant="ab" * 16, body={"stream": True})
    )
    async with start_gateway(own(provider.base_url), environment=ENVIRONMENT) as gateway:
        listed = ("--requests", str(file), "--as-tenant", "--resume", str(tmp_path / "state"))
        assert (await run(gateway, *listed, "--version", "v3", "--concurrency", "1"))[0] == 1
        code, _, err = await run(gateway, *listed, "--version", "v2")
        assert code == 2
        assert "is of other requests or another gateway" in err
        (tmp_path / "state").unlink()
        assert (await run(gateway, *listed, "--version", "v2"))[0] == 0
    assert {call["headers"]["Authorization"] for call in provider.calls} == {"Bearer sk-upstream"}


async def test_failures_are_told_by_reason(start_gateway: StartGateway, provider: Provider, tmp_path: Path) -> None:
    file = requests_file(tmp_path, line("one"), line("two"))
    async with start_gateway(rollout(provider.base_url)) as gateway:
        code, out, _ = await run(gateway, "--requests", str(file), "--version", "v9", "--summary", "json")
        told = json.loads(out.splitlines()[-1])
        assert (code, told["complete"], told["failures"]) == (1, False, {"status 409: unknown_version": 2})
        wrong = await run(
            gateway, "--requests", str(file), "--version", "v1", "--summary", "json", LLMCACHE_ADMIN_TOKEN="wrong"
        )
        assert json.loads(wrong[1].splitlines()[-1])["failures"] == {"status 401: invalid_admin_token": 2}
    assert provider.calls == []


async def test_a_gateway_that_was_asked_nothing_needs_no_warming(
    start_gateway: StartGateway, provider: Provider
) -> None:
    async with start_gateway(own(provider.base_url), environment=ENVIRONMENT) as gateway:
        arguments = ("--from-hot", gateway.admin_url, "--version", "v2", "--as-tenant", "--summary", "json")
        code, out, err = await run(gateway, *arguments)
    assert (code, json.loads(out.splitlines()[-1])["total"]) == (0, 0), err


async def test_one_gateway_of_several_may_be_away_but_not_all(start_gateway: StartGateway, provider: Provider) -> None:
    away = ("--from-hot", "http://127.0.0.1:9")
    async with start_gateway(own(provider.base_url), environment=ENVIRONMENT) as gateway:
        for _ in range(2):
            await gateway.post(question("x"))
        code, out, err = await run(gateway, *away, "--from-hot", gateway.admin_url, "--as-tenant")
        assert (code, out) == (0, "0 stored, 1 already there, 0 failed\n")
        assert "left out: http://127.0.0.1:9/admin/v1/hot: ConnectError" in err
        code, out, err = await run(gateway, *away, "--as-tenant", "--summary", "json")
        assert code == 2
        assert json.loads(out.splitlines()[-1])["complete"] is False
        assert "http://127.0.0.1:9/admin/v1/hot: ConnectError" in json.loads(out)["error"][0]


async def test_a_name_stands_for_every_gateway_behind_it(start_gateway: StartGateway, provider: Provider) -> None:
    """`localhost` has two addresses, on one of which nothing listens: as a headless Service whose pod is going."""
    async with start_gateway(own(provider.base_url), environment=ENVIRONMENT) as gateway:
        for _ in range(2):
            await gateway.post(question("x"))
        by_name = gateway.admin_url.replace("127.0.0.1", "localhost")
        code, out, err = await run(gateway, "--from-hot", by_name, "--from-hot", gateway.admin_url, "--as-tenant")
    assert (code, out) == (0, "0 stored, 1 already there, 0 failed\n"), err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--version", "v2"], "--version, --as-tenant: need the gateway's admin token"),
        (["--as-tenant"], "--version, --as-tenant: need the gateway's admin token"),
        (["--as-tenant", "--api-key-file", "k", "--admin-token-file", "{token}"], "--api-key-file: the tenant of"),
        (["--as-tenant", "--admin-token-file", "{token}"], "line 1: 'tenant' is missing, which --as-tenant"),
    ],
)
async def test_what_cannot_be_is_said_before_anything_is_sent(
    tmp_path: Path, arguments: list[str], problem: str
) -> None:
    token, summary = tmp_path / "token", tmp_path / "summary"
    token.write_text(ADMIN_TOKEN)
    file = requests_file(tmp_path, line("one"))
    given = [argument.replace("{token}", str(token)) for argument in arguments]
    process = await start(
        *("warm", "--url", "http://127.0.0.1:9", "--requests", str(file), "--summary-file", str(summary)), *given
    )
    code, _, err = await finish(process)
    assert code == 2
    assert problem in err
    assert problem in json.loads(summary.read_text())["error"][0]
