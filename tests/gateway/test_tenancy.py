"""Nobody gets another tenant's answer, whatever is sent."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict

from llmcache_gateway.errors import RequestError
from llmcache_gateway.tenant import Front, TenantResolver, client_keys
from tests.gateway.conftest import ADMIN, StartGateway, TestGateway, manifest
from tests.gateway.provider import Provider

GOOD: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
OWN = {"env": "KEY"}


def write(folder: Path, secret: str, **values: str) -> Path:
    (folder / secret).mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        (folder / secret / name).write_text(value)
    return folder


def with_own_credential(base_url: str, **spec: Any) -> dict[str, Any]:
    config = manifest(base_url, **spec)
    config["spec"]["upstreams"][0]["credential"] = OWN
    return config


@pytest.fixture
async def keyed(start_gateway: StartGateway, provider: Provider, tmp_path: Path) -> Any:
    """A gateway that gave keys to two teams."""
    folder = write(tmp_path / "secrets", "keys", teams="red: [sk-red-1, sk-red-2]\nblue: sk-blue-1\n")
    keys = {"secretRef": {"name": "keys", "key": "teams"}}
    config = with_own_credential(provider.base_url, tenancy={"keys": keys})
    async with start_gateway(config, secrets=folder, environment={"KEY": "sk-upstream"}) as gateway:
        yield gateway, folder


@pytest.fixture
async def fronted(start_gateway: StartGateway, provider: Provider, tmp_path: Path) -> Any:
    """A gateway behind a front that names the tenant."""
    folder = write(tmp_path / "secrets", "front", proof="front-secret")
    header = {"secretRef": {"name": "front", "key": "proof"}}
    config = with_own_credential(provider.base_url, tenancy={"isolation": "Header", "header": header})
    async with start_gateway(config, secrets=folder, environment={"KEY": "sk-upstream"}) as gateway:
        yield gateway


async def outcome(gateway: TestGateway, body: Any = GOOD, path: str = "/v1/chat/completions", **headers: str) -> str:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    response = await gateway.post(body, path=path, headers=names)
    return response.headers["X-LLMCache"] if response.status_code == 200 else str(response.status_code)


async def test_keys_name_tenants_and_the_upstream_gets_its_own_credential(keyed: Any, provider: Provider) -> None:
    gateway, _ = keyed
    assert await outcome(gateway, Authorization="Bearer sk-red-1") == "MISS"
    assert await outcome(gateway, Authorization="Bearer sk-red-2") == "HIT"
    assert await outcome(gateway, x_api_key="sk-red-1") == "HIT"
    assert await outcome(gateway, Authorization="Bearer sk-blue-1") == "MISS"
    assert {call["headers"]["Authorization"] for call in provider.calls} == {"Bearer sk-upstream"}
    response = await gateway.post(GOOD, headers={"Authorization": "Bearer sk-blue-1"})
    assert ":key-blue:" in response.headers["X-LLMCache-Key"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer sk-red-3"},
        {"Authorization": "Bearer sk-red-1x"},
        {"Authorization": "Bearer sk-red"},
        {"Authorization": "Bearer sk-red-1\tsk-red-2"},
        {"Authorization": "Basic sk-red-1"},
        {"Authorization": "Bearer red"},
        {"Authorization": "Bearer sk-red-1", "x-api-key": "sk-red-1"},
        {"Cookie": "sk-red-1"},
    ],
)
async def test_without_one_known_key_a_request_is_refused_before_anything_else(
    keyed: Any, provider: Provider, headers: dict[str, str]
) -> None:
    gateway, _ = keyed
    for path in ("/v1/chat/completions", "/v1/models", "/v1/files"):
        response = await gateway.post(b"not even JSON", path=path, headers=headers)
        assert response.status_code == 401
        assert response.json()["error"]["code"] == "invalid_api_key"
    assert not provider.calls


async def test_a_changed_secret_of_keys_is_in_force_without_a_restart(keyed: Any) -> None:
    gateway, folder = keyed
    write(folder, "keys", teams="green: sk-green-1\nred: sk-red-9")
    gateway.running.reloader.check()
    assert await outcome(gateway, Authorization="Bearer sk-green-1") == "MISS"
    assert await outcome(gateway, Authorization="Bearer sk-red-1") == "401"
    write(folder, "keys", teams="green: sk-green-1\nred: sk-green-1")
    assert gateway.running.reloader.check() is False
    assert "one key stands under two tenants" in (await gateway.status())["configError"]
    assert await outcome(gateway, Authorization="Bearer sk-green-1") == "HIT"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must be a mapping"),
        ("red", "must be a mapping"),
        ("red: [", "not readable as YAML"),
        ("red: sk-1\nred: sk-2", "not readable as YAML"),
        ("a:b: sk-12345678", "can't be a tenant's name"),
        ("a b: sk-12345678", "can't be a tenant's name"),
        ("red: short", "at least 8 characters"),
        ("red: 1234567890", "must be texts"),
        ("red: []", "must be texts"),
        ("red: [sk-12345678, sk-12345678]", "twice under one"),
    ],
)
def test_a_secret_of_keys_that_cannot_be_used_says_why_and_shows_no_key(text: str, says: str) -> None:
    _, problems = client_keys(text)
    assert says in " ".join(problems)
    assert "1234567" not in " ".join(problems)


async def test_a_front_names_the_tenant_and_its_headers_go_no_further(fronted: TestGateway, provider: Provider) -> None:
    async def through(tenant: str) -> str:
        return await outcome(fronted, X_LLMCache_Tenant=tenant, X_LLMCache_Front_Secret="front-secret")

    assert [await through(tenant) for tenant in ("a", "b", "a", "b")] == ["MISS", "MISS", "HIT", "HIT"]
    assert not [name for name in provider.calls[0]["headers"] if name.lower().startswith("x-llmcache")]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-LLMCache-Tenant": "a"},
        {"X-LLMCache-Tenant": "a", "X-LLMCache-Front-Secret": ""},
        {"X-LLMCache-Tenant": "a", "X-LLMCache-Front-Secret": "front-secre"},
        {"X-LLMCache-Front-Secret": "front-secret"},
        {"X-LLMCache-Tenant": "", "X-LLMCache-Front-Secret": "front-secret"},
        {"X-LLMCache-Tenant": "a:b", "X-LLMCache-Front-Secret": "front-secret"},
        {"X-LLMCache-Tenant": "a b", "X-LLMCache-Front-Secret": "front-secret"},
        {"X-LLMCache-Tenant": "a" * 64, "X-LLMCache-Front-Secret": "front-secret"},
    ],
)
async def test_without_proof_or_a_proper_name_a_front_is_refused(
    fronted: TestGateway, provider: Provider, headers: dict[str, str]
) -> None:
    assert await outcome(fronted, **{name.replace("-", "_"): value for name, value in headers.items()}) == "401"
    assert not provider.calls


TRICKS: dict[str, dict[str, Any]] = {
    "key header": {"headers": {"X-LLMCache-Key": "{key}"}},
    "prefix header": {"headers": {"X-LLMCache-Prefix": "test:v1"}},
    "namespace of another tenant": {"headers": {"X-LLMCache-Namespace": "{tenant}"}},
    "namespace with separators": {"headers": {"X-LLMCache-Namespace": "x:{tenant}:"}},
    "namespace in the body": {"body": {"cache": {"namespace": "../{tenant}"}}},
    "user member": {"body": {"user": "{tenant}"}},
    "metadata member": {"body": {"metadata": {"tenant": "{tenant}", "redis_namespace": "{tenant}"}}},
    "tenant member": {"body": {"tenant": "{tenant}"}},
    "forwarding headers": {"headers": {"X-Forwarded-User": "{tenant}", "Forwarded": "for={tenant}"}},
    "other credential header": {"headers": {"x-api-key": "sk-victim"}},
    "api-key header": {"headers": {"api-key": "sk-victim"}},
    "two Authorization headers": {
        "headers": [("Authorization", "Bearer sk-victim"), ("Authorization", "Bearer sk-thief")]
    },
    "scheme in another case": {"headers": {"Authorization": "bearer sk-thief"}},
    "query": {"path": "/v1/chat/completions?tenant={tenant}"},
    "admin token": {"headers": ADMIN},
}


@pytest.mark.parametrize("trick", TRICKS)
async def test_no_trick_reaches_another_tenants_entry(gateway: TestGateway, provider: Provider, trick: str) -> None:
    victim = await gateway.post(GOOD, headers={"Authorization": "Bearer sk-victim"})
    key = victim.headers["X-LLMCache-Key"]
    tenant = key.split(":")[2]

    def filled(text: str) -> str:
        return text.replace("{tenant}", tenant).replace("{key}", key)

    asked = TRICKS[trick]
    body = {**GOOD, **asked.get("body", {})}
    for name in ("user", "tenant"):
        if isinstance(body.get(name), str):
            body[name] = filled(body[name])
    given = asked.get("headers", {})
    headers = [(name, filled(value)) for name, value in (given.items() if isinstance(given, dict) else given)]
    if not any(name == "Authorization" for name, _ in headers):
        headers.append(("Authorization", "Bearer sk-thief"))
    response = await gateway.post(body, path=filled(asked.get("path", "/v1/chat/completions")), headers=headers)
    assert response.headers["X-LLMCache"] == "MISS"
    assert response.content != victim.content
    assert len(provider.calls) == 2


def test_names_made_of_different_credentials_differ_and_need_the_key() -> None:
    def name(key: bytes, *headers: tuple[str, str]) -> str:
        return TenantResolver("Credential", key).tenant(CIMultiDict(headers))

    names = {
        name(b"k", ("Authorization", "Bearer a")),
        name(b"k", ("Authorization", "a")),
        name(b"k", ("x-api-key", "Bearer a")),
        name(b"k", ("api-key", "Bearer a")),
        name(b"k", ("Authorization", "Bearer a"), ("api-key", "a")),
        name(b"k", ("Authorization", "Bearer a"), ("Authorization", "Bearer a")),
        name(b"other", ("Authorization", "Bearer a")),
        name(b"k"),
    }
    assert len(names) == 8
    assert name(b"k", ("AUTHORIZATION", "Bearer a")) == name(b"k", ("authorization", "Bearer a"))


def test_a_policy_of_shared_entries_still_needs_the_key() -> None:
    resolver = TenantResolver("Credential", b"k", client_keys={"red": ["sk-red"]})
    assert resolver.tenant(CIMultiDict({"Authorization": "Bearer sk-red"}), "Shared") == "shared"
    with pytest.raises(RequestError):
        resolver.tenant(CIMultiDict(), "Shared")


def test_tenants_named_by_keys_fronts_and_credentials_never_meet() -> None:
    front = TenantResolver("Header", b"k", Front("t", "p", "s")).tenant(CIMultiDict({"t": "shared", "p": "s"}))
    keyed = TenantResolver("Credential", b"k", client_keys={"shared": ["x"]}).tenant(CIMultiDict({"api-key": "x"}))
    assert {front, keyed}.isdisjoint({"shared", "anonymous"})
    assert front != keyed


async def test_two_tenants_at_once_never_cross(gateway: TestGateway, provider: Provider) -> None:
    async def one(tenant: int) -> None:
        headers = {"Authorization": f"Bearer sk-{tenant}"}
        first = await gateway.post(GOOD, headers=headers)
        for _ in range(5):
            again = await gateway.post(GOOD, headers=headers)
            assert again.headers["X-LLMCache"] == "HIT"
            assert again.content == first.content

    await asyncio.gather(*(one(tenant) for tenant in range(10)))
    assert len(provider.calls) == 10
