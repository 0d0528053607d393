"""Encrypted connections to every kind of Redis: who may be spoken to, and as whom."""

import gc
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmcache_gateway.errors import ConfigError, StoreError
from tests.gateway.conftest import StartGateway, manifest
from tests.gateway.redis_stores import shared
from tests.gateway.test_reload import outcome
from tests.gateway.test_store_contract import an_entry
from tests.redis_topologies import (
    Certificates,
    Guarded,
    Redis,
    documented_user,
    make_certificates,
    running_cluster,
    running_guarded,
    running_sentinels,
)


@pytest.fixture(autouse=True)
def _collected_between_tests() -> Iterator[None]:
    """Collect when no connection is on its way out.

    asyncio closes the socket of a refused handshake in a later turn of its loop; a collection before that, which long
    tests elsewhere make likelier, calls it unclosed. What is really left open is found after each test.
    """
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.collect()


def secret(key: str) -> dict[str, Any]:
    return {"secretRef": {"name": "redis", "key": key}}


async def works(external: dict[str, Any], secrets: Path) -> None:
    store = shared(external, secrets=secrets)
    try:
        await store.put("k", an_entry("kept"))
        found = await store.get("k")
        assert found is not None
        assert found.entry.blocks == [b"kept"]
        await store.ping()
    finally:
        await store.close()


async def refusal(external: dict[str, Any], secrets: Path) -> str:
    """Return why a Redis is not used."""
    store = shared(external, secrets=secrets)
    with pytest.raises(StoreError) as raised:
        await store.get("k")
    await store.close()
    return str(raised.value)


async def test_a_server_of_another_authority_is_not_spoken_to(guarded_redis: Guarded, tmp_path: Path) -> None:
    stranger = tmp_path / "redis"
    stranger.mkdir()
    make_certificates(stranger)
    shutil.copy(guarded_redis.secrets / "redis" / "password", stranger)
    assert "CERTIFICATE_VERIFY_FAILED" in await refusal(guarded_redis.external, tmp_path)


async def test_without_an_authority_of_its_own_those_of_the_system_count(guarded_redis: Guarded) -> None:
    external = guarded_redis.external
    del external["tls"]["ca"]
    assert "CERTIFICATE_VERIFY_FAILED" in await refusal(external, guarded_redis.secrets)


async def test_without_a_certificate_a_server_that_asks_for_one_refuses(guarded_redis: Guarded) -> None:
    external = guarded_redis.external
    del external["tls"]["clientCertificate"]
    assert "redis: " in await refusal(external, guarded_redis.secrets)


async def test_a_wrong_password_is_refused_and_not_repeated_in_the_error(
    guarded_redis: Guarded, tmp_path: Path
) -> None:
    shutil.copytree(guarded_redis.secrets, tmp_path, dirs_exist_ok=True)
    (tmp_path / "redis" / "password").write_text("not-the-password")
    why = await refusal(guarded_redis.external, tmp_path)
    assert "invalid username-password pair" in why
    assert "not-the-password" not in why


async def test_a_user_may_touch_nothing_but_this_cache(guarded_redis: Guarded) -> None:
    store = shared(guarded_redis.external, "somebody-else:", secrets=guarded_redis.secrets)
    for call in (store.put("k", an_entry()), store.get("k"), store.delete("k")):
        with pytest.raises(StoreError, match="permission"):
            await call
    await store.close()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Guarded]:
    """A server whose certificate carries a name, not the address that it is reached under."""
    with running_guarded(tmp_path, "redis.example") as guarded:
        yield guarded


async def test_a_certificate_must_carry_the_host_or_the_name_that_is_set(elsewhere: Guarded) -> None:
    external = elsewhere.external
    assert "CERTIFICATE_VERIFY_FAILED" in await refusal(external, elsewhere.secrets)
    external["tls"]["serverName"] = "other.example"
    assert "CERTIFICATE_VERIFY_FAILED" in await refusal(external, elsewhere.secrets)
    external["tls"]["serverName"] = "redis.example"
    await works(external, elsewhere.secrets)


async def test_verifying_nothing_takes_any_certificate(elsewhere: Guarded) -> None:
    external = elsewhere.external
    del external["tls"]["ca"]
    external["tls"]["verify"] = False
    await works(external, elsewhere.secrets)


def cluster(options: list[str], client: tuple[str, ...], folder: Path) -> Any:
    return running_cluster([*options, "--tls-cluster", "yes"], tls=True, client_options=client)


def sentinels(options: list[str], client: tuple[str, ...], folder: Path) -> Any:
    return running_sentinels(folder, [*options, "--tls-replication", "yes"], tls=True, client_options=client)


@pytest.mark.parametrize("kind", [cluster, sentinels])
async def test_every_server_of_a_kind_is_spoken_to_with_tls_by_the_user_with_the_documented_rights(
    kind: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "secrets" / "redis"
    folder.mkdir(parents=True)
    certificates: Certificates = make_certificates(folder, "redis.example")
    (folder / "password").write_text("pass word")
    redis: Redis
    with kind(certificates.options, certificates.client_options, tmp_path) as redis:
        for server in redis.servers:
            server.command("ACL", "SETUSER", *documented_user("pass word", cluster=kind is cluster))
        external = redis.external | {
            "credential": {"username": "llmcache", **secret("password")},
            "tls": {
                "ca": secret("ca.pem"),
                "serverName": "redis.example",
                "clientCertificate": {"certificate": secret("client.pem"), "key": secret("client.pem")},
            },
        }
        await works(external, tmp_path / "secrets")
        store = shared(external, secrets=tmp_path / "secrets")
        epoch = await store.marks().add(["tag:a"], 0)
        assert (await store.marks().read(0))[1] == {"tag:a": epoch} | {"all": epoch - 1}
        assert [batch async for batch in store.scan()]
        await store.close()
        assert "CERTIFICATE_VERIFY_FAILED" in await refusal(
            external | {"tls": {"ca": secret("ca.pem")}}, tmp_path / "secrets"
        )


async def test_a_new_password_and_a_new_authority_are_in_force_without_a_restart(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    secrets, later = tmp_path / "mounted", tmp_path / "later"
    later.mkdir()
    with running_guarded(tmp_path) as guarded:
        shutil.copytree(guarded.secrets, secrets)
        config = manifest(None, cache={"store": {"type": "redis"}}, redis={"external": guarded.external})
        async with start_gateway(config, secrets=secrets) as gateway:
            assert (await outcome(gateway))[0] == "MISS"
            await gateway.running.reloader.current.store.flush()
            assert (await outcome(gateway))[0] == "HIT"
            before = gateway.running.reloader.current.store
            fresh = make_certificates(later)
            guarded.server.command("ACL", "SETUSER", "llmcache", "resetpass", ">fresh")
            guarded.server.command("CONFIG", "SET", *(word for pair in fresh.files.items() for word in pair))
            (later / "password").write_text("fresh")
            shutil.copytree(later, secrets / "redis", dirs_exist_ok=True)
            assert gateway.running.reloader.check() is True
            assert gateway.running.reloader.current.store is not before
            assert (await outcome(gateway))[0] == "HIT"
            assert gateway.running.reloader.check() is False


@pytest.mark.parametrize(
    ("key", "content", "why"),
    [
        ("ca.pem", "\n", "it is empty"),
        ("ca.pem", "no certificate", "holds no certificates in PEM"),
        ("client.pem", "no certificate", "are no certificate and its key"),
        ("ca.pem", None, "can't be read"),
    ],
)
async def test_a_file_that_is_no_certificate_keeps_the_gateway_from_starting_and_is_named(
    key: str, content: str | None, why: str, start_gateway: StartGateway, guarded_redis: Guarded, tmp_path: Path
) -> None:
    shutil.copytree(guarded_redis.secrets, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "redis" / key
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    config = manifest(None, cache={"store": {"type": "redis"}}, redis={"external": guarded_redis.external})
    with pytest.raises(ConfigError, match=why) as raised:
        async with start_gateway(config, secrets=tmp_path):
            pass
    assert str(file) in str(raised.value)
