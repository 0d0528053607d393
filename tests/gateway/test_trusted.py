"""Requests that fill the cache for others: what proves them, and that nobody else names a version or a tenant."""

import json
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict

from llmcache_gateway.errors import RequestError
from llmcache_gateway.trusted import CLIENT, Named, read_named
from tests.gateway.conftest import ADMIN_TOKEN, StartGateway
from tests.gateway.provider import Provider
from tests.gateway.test_attacks import raw_request
from tests.gateway.test_express import Client, connected, express, request
from tests.gateway.test_hooks import SPEC
from tests.gateway.test_hooks import write as write_hook
from tests.gateway.test_hot import hot
from tests.gateway.test_rollout import question, rollout, switch
from tests.gateway.test_stats import counts, stats_of
from tests.gateway.test_tenancy import OWN, write

PROOF = {"X-LLMCache-Admin": ADMIN_TOKEN}
TOKEN = ADMIN_TOKEN.encode()
FRONT = ("X-LLMCache-Tenant", "X-LLMCache-Front-Secret")


def read(*headers: tuple[str, str], token: bytes = TOKEN, front: tuple[str, ...] = ()) -> Named:
    return read_named(CIMultiDict(headers), token=token, versions=("v1", "v2"), of_the_front=front)


def refused(*headers: tuple[str, str], **more: Any) -> tuple[int, str | None]:
    with pytest.raises(RequestError) as caught:
        read(*headers, **more)
    assert ADMIN_TOKEN not in caught.value.message
    return caught.value.status, caught.value.code


def test_a_proven_request_may_name_a_version_and_a_tenant() -> None:
    proof = ("x-llmcache-admin", ADMIN_TOKEN)
    assert read(("Authorization", "Bearer x")) == CLIENT
    assert read(proof) == Named()
    assert read(proof, ("x-llmcache-version", "v2"), ("X-LLMCACHE-TENANT", "t")) == Named("v2", "t")
    assert refused(proof, ("X-LLMCache-Version", "v3")) == (409, "unknown_version")
    assert refused(proof, ("X-LLMCache-Version", "")) == (409, "unknown_version")
    for name in ("X-LLMCache-Version", "X-LLMCache-Tenant"):
        assert refused(proof, (name, "v1"), (name, "v1")) == (400, "bad_header")


@pytest.mark.parametrize("name", ["X-LLMCache-Version", "x-llmcache-tenant", "X-LLMCACHE-TENANT"])
@pytest.mark.parametrize("value", ["v1", "v2", "", "shared"])
def test_without_proof_nothing_is_named(name: str, value: str) -> None:
    assert refused((name, value)) == (403, "not_for_clients")


@pytest.mark.parametrize(
    "guesses",
    [
        [""],
        ["x" * len(ADMIN_TOKEN)],
        [ADMIN_TOKEN[:-1]],
        [ADMIN_TOKEN + "x"],
        [ADMIN_TOKEN.upper()],
        [f"Bearer {ADMIN_TOKEN}"],
        [ADMIN_TOKEN, ADMIN_TOKEN],
        ["wrong", ADMIN_TOKEN],
        [f"{ADMIN_TOKEN},{ADMIN_TOKEN}"],
        ["\udcff\udcfe"],
    ],
)
def test_a_guessed_token_proves_nothing(guesses: list[str]) -> None:
    headers = [("X-LLMCache-Admin", guess) for guess in guesses]
    assert refused(*headers) == (401, "invalid_admin_token")
    assert refused(*headers, ("X-LLMCache-Version", "v9")) == (401, "invalid_admin_token")


def test_a_token_that_is_soon_guessed_proves_nothing_either() -> None:
    assert refused(("X-LLMCache-Admin", "secret"), token=b"secret") == (401, "invalid_admin_token")
    assert refused(("X-LLMCache-Admin", ""), token=b"") == (401, "invalid_admin_token")


def test_the_fronts_own_header_is_left_to_the_front() -> None:
    assert read(("x-llmcache-tenant", "red"), front=FRONT) == CLIENT
    assert refused(("X-LLMCache-Version", "v1"), front=FRONT) == (403, "not_for_clients")
    assert read(("x-llmcache-tenant", "front-red"), *PROOF.items(), front=FRONT) == Named(None, "front-red")


def own(base_url: str, percent: int = 0, **spec: Any) -> dict[str, Any]:
    """Return a configuration in the middle of a rollout whose upstream has a credential of its own."""
    config = rollout(base_url, "v1", ("v2", percent), **spec)
    config["spec"]["upstreams"][0]["credential"] = OWN
    return config


KEYS = {"keys": {"secretRef": {"name": "keys", "key": "teams"}}}
ENVIRONMENT = {"KEY": "sk-upstream"}


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    write(tmp_path / "secrets", "keys", teams="red: sk-red-1\nblue: sk-blue-1\n")
    return write(tmp_path / "secrets", "front", proof="front-secret")


def names(tenant: str, version: str = "v2") -> dict[str, str]:
    return PROOF | {"X-LLMCache-Tenant": tenant, "X-LLMCache-Version": version}


async def test_a_version_is_filled_for_a_tenant_before_its_clients_come(
    start_gateway: StartGateway, provider: Provider, secrets: Path
) -> None:
    red, blue = ({"Authorization": f"Bearer sk-{name}-1"} for name in ("red", "blue"))
    async with start_gateway(own(provider.base_url, tenancy=KEYS), secrets=secrets, environment=ENVIRONMENT) as gateway:
        assert (await gateway.post(question("x"), headers=red)).headers["X-LLMCache-Prefix"] == "test:v1"
        first, second = [await gateway.post(question("x"), headers=names("key-red")) for _ in range(2)]
        assert (first.headers["X-LLMCache"], second.headers["X-LLMCache"]) == ("MISS", "HIT")
        assert first.headers["X-LLMCache-Prefix"] == second.headers["X-LLMCache-Prefix"] == "test:v2"
        assert ":v2:key-red:" in first.headers["X-LLMCache-Key"]
        shown = (await stats_of(gateway))["versions"]
        assert counts(shown["v1"]) == {"requests": 1, "misses": 1}
        assert counts(shown["v2"]) == {"warmed": 2}
        assert (await hot(gateway)).json()["requests"] == []  # it was asked once, by a client
        switch(gateway, own(provider.base_url, 100, tenancy=KEYS))
        filled = await gateway.post(question("x"), headers=red)
        assert (filled.headers["X-LLMCache"], filled.headers["X-LLMCache-Prefix"]) == ("HIT", "test:v2")
        assert filled.headers["X-LLMCache-Key"] == first.headers["X-LLMCache-Key"]
        assert (await gateway.post(question("x"), headers=blue)).headers["X-LLMCache"] == "MISS"
    for call in provider.calls:
        assert call["headers"]["Authorization"] == "Bearer sk-upstream"
        assert not [name for name in call["headers"] if name.lower().startswith("x-llmcache")]
        assert ADMIN_TOKEN not in str(call)


async def test_a_version_alone_is_filled_for_the_credential_that_asks(
    start_gateway: StartGateway, provider: Provider
) -> None:
    """As with clients' own credentials passed on: theirs is needed, and no tenant can be named."""
    client = {"Authorization": "Bearer sk-client"}
    async with start_gateway(rollout(provider.base_url, "v1", ("v2", 0))) as gateway:
        answer = await gateway.post(question("x"), headers=client | PROOF | {"X-LLMCache-Version": "v2"})
        assert answer.headers["X-LLMCache-Prefix"] == "test:v2"
        named = await gateway.post(question("x"), headers=client | names("a" * 32))
        assert (named.status_code, named.json()["error"]["code"]) == (409, "no_own_credential")
        assert "upstream 'main' is asked with each client's own credential" in named.json()["error"]["message"]
        switch(gateway, rollout(provider.base_url, "v2"))
        assert (await gateway.post(question("x"), headers=client)).headers["X-LLMCache"] == "HIT"
    assert len(provider.calls) == 1


@pytest.mark.parametrize("tenancy", ["keys", "front", "credential", "shared"])
async def test_only_tenants_that_a_client_can_have_are_filled(
    start_gateway: StartGateway, provider: Provider, secrets: Path, tenancy: str
) -> None:
    front = {"isolation": "Header", "header": {"secretRef": {"name": "front", "key": "proof"}}}
    kinds: dict[str, tuple[Any, list[str]]] = {
        "keys": (KEYS, ["key-red", "shared"]),
        "front": (front, ["front-anybody", "shared"]),
        "credential": ({}, ["ab" * 16, "anonymous", "shared"]),
        "shared": ({"isolation": "Shared"}, ["ab" * 16, "anonymous", "shared"]),
    }
    spec, fine = kinds[tenancy]
    every = [
        "key-red",
        "key-nobody",
        "front-anybody",
        "front-",
        "ab" * 16,
        "anonymous",
        "shared",
        "red",
        "",
        "a:b",
        "*",
    ]
    async with start_gateway(own(provider.base_url, tenancy=spec), secrets=secrets, environment=ENVIRONMENT) as gateway:
        for tenant in every:
            answer = await gateway.post(question(tenant), headers=names(tenant))
            if tenant in fine:
                assert f":v2:{tenant}:" in answer.headers["X-LLMCache-Key"]
            else:
                assert (answer.status_code, answer.json()["error"]["code"]) == (409, "unknown_tenant")
    assert len(provider.calls) == len(fine)


async def test_clients_name_nothing_however_they_write_it(
    start_gateway: StartGateway, provider: Provider, secrets: Path
) -> None:
    body = json.dumps(question("x")).encode()
    async with start_gateway(own(provider.base_url, tenancy=KEYS), secrets=secrets, environment=ENVIRONMENT) as gateway:
        await gateway.post(question("x"), headers=names("key-blue", "v1"))  # what an attacker would like to read
        for path in ("/v1/chat/completions", "/v1/models", "/v1/embeddings"):
            for line in (
                "X-LLMCache-Tenant: key-blue",
                "x-llmcache-version:v2",
                "X-LLMCACHE-TENANT:",
                "X-LLMCache-Admin: x",
            ):
                for connection in ("close", "X-LLMCache-Tenant, X-LLMCache-Version, X-LLMCache-Admin, close"):
                    head = f"POST {path} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer sk-red-1\r\n{line}\r\n"
                    head += f"Connection: {connection}\r\nContent-Length: {len(body)}\r\n\r\n"
                    answer = await raw_request(gateway, head.encode() + body)
                    assert answer.startswith((b"HTTP/1.1 403 ", b"HTTP/1.1 401 "))
        # Not a header of that name: folded, in a trailer, with another letter, in the body, in the query.
        odd = [
            "POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nX-Other: 1\r\n X-LLMCache-Tenant: key-blue\r\n",
            "POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nX-LLMCache_Tenant: key-blue\r\n",
            "POST /v1/chat/completions?X-LLMCache-Tenant=key-blue HTTP/1.1\r\nHost: g\r\n",
            "POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nX-LLMCache-Tenant : key-blue\r\n",
        ]
        for start in odd:
            head = f"{start}Authorization: Bearer sk-red-1\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            assert b"key-blue:" not in await raw_request(gateway, head.encode() + body)
        chunked = (
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer sk-red-1\r\nConnection: close\r\n"
            b"Trailer: X-LLMCache-Admin\r\nTransfer-Encoding: chunked\r\n\r\n"
            + f"{len(body):x}\r\n".encode()
            + body
            + b"\r\n0\r\n"
            + f"X-LLMCache-Admin: {ADMIN_TOKEN}\r\nX-LLMCache-Tenant: key-blue\r\n\r\n".encode()
        )
        assert b"key-blue:" not in await raw_request(gateway, chunked)
        smuggled = question("x", **{"X-LLMCache-Tenant": "key-blue", "cache": {"namespace": "key-blue"}})
        smuggler = await gateway.post(smuggled, headers={"Authorization": "Bearer sk-red-1"})
        assert ":v1:key-red:" in smuggler.headers["X-LLMCache-Key"]


async def test_the_express_lane_learns_no_proven_request_and_lets_no_client_name_anything(
    start_gateway: StartGateway, provider: Provider, secrets: Path
) -> None:
    body = json.dumps(question("x")).encode()
    lines = ["Authorization: Bearer sk-red-1", *(f"{name}: {value}" for name, value in names("key-red", "v1").items())]
    async with (
        start_gateway(own(provider.base_url, tenancy=KEYS), secrets=secrets, environment=ENVIRONMENT) as gateway,
        connected(gateway) as client,
    ):
        for _ in range(4):
            await ask(client, body, *lines)
        assert await express(gateway) == 0
        for _ in range(4):
            await ask(client, body, lines[0])
        assert await express(gateway) > 0
        assert await ask(client, body, lines[0], "X-LLMCache-Tenant: key-red") == 403
        assert await ask(client, body, lines[0], "X-LLMCache-Version: v1") == 403


async def ask(client: Client, body: bytes, *lines: str) -> int:
    return (await client.ask(request(body, *lines))).status


async def test_a_front_names_tenants_as_before_and_a_proven_request_names_them_whole(
    start_gateway: StartGateway, provider: Provider, secrets: Path
) -> None:
    tenancy = {"isolation": "Header", "header": {"secretRef": {"name": "front", "key": "proof"}}}
    front = {"X-LLMCache-Tenant": "red", "X-LLMCache-Front-Secret": "front-secret"}
    config = own(provider.base_url, 100, tenancy=tenancy)
    async with start_gateway(config, secrets=secrets, environment=ENVIRONMENT) as gateway:
        assert (await gateway.post(question("x"), headers=names("front-red"))).headers["X-LLMCache"] == "MISS"
        assert (await gateway.post(question("x"), headers=front)).headers["X-LLMCache"] == "HIT"
        assert (await gateway.post(question("x"), headers={"X-LLMCache-Tenant": "red"})).status_code == 401
        # A client of the front that adds a proof it guessed gets past neither.
        assert (await gateway.post(question("x"), headers=front | {"X-LLMCache-Admin": "guess"})).status_code == 401
        assert (await gateway.post(question("x"), headers=front | {"X-LLMCache-Version": "v1"})).status_code == 403


async def test_nothing_is_filled_where_nothing_is_cached(start_gateway: StartGateway, provider: Provider) -> None:
    async with start_gateway(own(provider.base_url), environment=ENVIRONMENT) as gateway:
        answer = await gateway.post({}, path="/v1/files", headers=names("anonymous"))
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "nothing_to_fill")
    assert provider.calls == []


async def test_a_policy_that_shares_decides_for_filled_entries_too(
    start_gateway: StartGateway, provider: Provider
) -> None:
    policies = [{"name": "faq", "match": {"models": ["m"]}, "tenancy": {"isolation": "Shared"}}]
    async with start_gateway(own(provider.base_url, policies=policies), environment=ENVIRONMENT) as gateway:
        answer = await gateway.post(question("x"), headers=names("ab" * 16))
        assert ":v2:shared:" in answer.headers["X-LLMCache-Key"]


async def test_a_hook_sees_nothing_of_what_a_client_would_not_send(
    start_gateway: StartGateway, provider: Provider, tmp_path: Path
) -> None:
    (tmp_path / "hooks").mkdir()
    seen = tmp_path / "seen"
    code = f"import pathlib\nasync def pre_upstream(call): pathlib.Path({str(seen)!r}).write_text(str(call))\n"
    write_hook(tmp_path / "hooks", code)
    config = own(provider.base_url, hooks=SPEC)
    async with start_gateway(config, hooks=tmp_path / "hooks", environment=ENVIRONMENT) as gateway:
        await gateway.post(question("x"), headers=names("anonymous"))
    assert "x-llmcache" not in seen.read_text().lower()  # a key that a hook made of it would be no client's


async def test_the_token_stands_in_no_log_line(
    start_gateway: StartGateway, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG"):
        async with start_gateway(own(provider.base_url), environment=ENVIRONMENT) as gateway:
            await gateway.post(question("x"), headers=names("anonymous"))
            await gateway.post(question("x"), headers={"X-LLMCache-Admin": f"{ADMIN_TOKEN}x"})
    lines = [record for record in caplog.records if record.name == "llmcache_gateway.requests"]
    assert [record.fields.get("filled") for record in lines] == [True, None]  # type: ignore[attr-defined]
    assert ADMIN_TOKEN not in str([vars(record) for record in lines])
