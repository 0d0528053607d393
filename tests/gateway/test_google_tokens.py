"""Google's tokens that the gateway makes itself: of a service account's key, and of what its machine is."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
import yaml
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.auth import jwt

from llmcache_gateway.config import load_config
from llmcache_gateway.errors import ConfigError
from tests.gateway.conftest import StartGateway, TestGateway, manifest
from tests.gateway.provider import Provider, serving
from tests.gateway.test_command_line import address, finish, start
from tests.gateway.test_command_line import serving as serving_program

PATH = "/v1/projects/p/locations/l/publishers/google/models/m:generateContent"
ANSWER = {"candidates": [{"content": {"parts": [{"text": "yes"}]}, "finishReason": "STOP"}]}
PRIVATE_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Tokens:
    """Who makes tokens, at the edge of the world: Google's token endpoint, and a machine's metadata server."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    lasts: int = 3600
    status: int = 200
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/service-accounts/default/"):
            return web.json_response({"email": "pod@p.iam.gserviceaccount.com", "scopes": [], "aliases": ["default"]})
        self.asked.append({"path": request.path, "form": parse_qs(await request.text())})
        number = len(self.asked)
        await self.gate.wait()
        if self.status != 200:
            return web.json_response({"error": "invalid_grant", "error_description": "no such account"}, status=400)
        token = {"access_token": f"ya29.{number}", "expires_in": self.lasts, "token_type": "Bearer"}
        return web.json_response(token, headers={"Metadata-Flavor": "Google"})

    def key(self) -> dict[str, str]:
        """Return a key of a service account as Google's console gives it."""
        pem = PRIVATE_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        names = {"type": "service_account", "project_id": "p", "private_key_id": "1", "client_email": "a@p.example"}
        return {**names, "private_key": pem, "token_uri": f"{self.url}/token"}


@pytest.fixture
async def tokens() -> AsyncIterator[Tokens]:
    tokens = Tokens()
    tokens.gate.set()
    async with serving(tokens.handle) as tokens.url:
        yield tokens


def config(provider: Provider, credential: dict[str, Any]) -> dict[str, Any]:
    async def behave(request: web.Request) -> web.StreamResponse:
        return web.json_response(ANSWER)

    provider.behave = behave
    made = manifest(provider.base_url.removesuffix("/v1"))
    made["spec"]["upstreams"][0] |= {"provider": "vertex", "timeout": "30s", "credential": credential}
    return made


@asynccontextmanager
async def gateway_of(
    start_gateway: StartGateway, provider: Provider, tokens: Tokens, tmp_path: Path
) -> AsyncIterator[TestGateway]:
    file = tmp_path / "key.json"
    file.write_text(json.dumps(tokens.key(), indent=1))
    async with start_gateway(config(provider, {"googleServiceAccount": {"file": str(file)}})) as gateway:
        yield gateway


async def ask(gateway: TestGateway, text: str) -> httpx.Response:
    body = {"contents": [{"parts": [{"text": text}]}]}
    return await gateway.post(body, PATH, headers={"Authorization": "Bearer the-clients-own"})


def sent(provider: Provider) -> list[str]:
    return [call["headers"]["Authorization"] for call in provider.calls]


async def test_a_token_is_made_of_the_key_once_and_sent_instead_of_the_clients(
    start_gateway: StartGateway, provider: Provider, tokens: Tokens, tmp_path: Path
) -> None:
    async with gateway_of(start_gateway, provider, tokens, tmp_path) as gateway:
        given = await asyncio.gather(*(ask(gateway, str(number)) for number in range(5)))
        assert {one.status_code for one in given} == {200}
    assert sent(provider) == ["Bearer ya29.1"] * 5
    (asked,) = tokens.asked
    claims = jwt.decode(asked["form"]["assertion"][0], verify=False)  # type: ignore[no-untyped-call]
    assert (claims["iss"], claims["scope"]) == ("a@p.example", "https://www.googleapis.com/auth/cloud-platform")


async def test_a_token_is_renewed_before_it_ends_while_requests_go_on_with_it(
    start_gateway: StartGateway, provider: Provider, tokens: Tokens, tmp_path: Path
) -> None:
    tokens.lasts = 250  # less than the gateway renews it before its end
    async with gateway_of(start_gateway, provider, tokens, tmp_path) as gateway:
        await ask(gateway, "first")
        tokens.gate.clear()
        async with asyncio.timeout(20):
            while len(tokens.asked) < 2:
                await ask(gateway, f"while it is asked for {len(provider.calls)}")
        assert set(sent(provider)) == {"Bearer ya29.1"}
        tokens.gate.set()
        async with asyncio.timeout(20):
            while sent(provider)[-1] == "Bearer ya29.1":
                await ask(gateway, f"afterwards {len(provider.calls)}")
    assert sent(provider)[-1] == "Bearer ya29.2"


async def test_a_token_that_still_holds_is_used_when_it_can_not_be_renewed(
    start_gateway: StartGateway, provider: Provider, tokens: Tokens, tmp_path: Path
) -> None:
    tokens.lasts = 250
    async with gateway_of(start_gateway, provider, tokens, tmp_path) as gateway:
        await ask(gateway, "first")
        tokens.status = 400
        for number in range(5):
            assert (await ask(gateway, str(number))).status_code == 200
    assert set(sent(provider)) == {"Bearer ya29.1"}


async def test_without_a_token_the_provider_is_not_asked_and_the_next_request_tries_again(
    start_gateway: StartGateway, provider: Provider, tokens: Tokens, tmp_path: Path
) -> None:
    tokens.status = 400
    async with gateway_of(start_gateway, provider, tokens, tmp_path) as gateway:
        refused = await ask(gateway, "first")
        assert (refused.status_code, refused.json()["error"]["status"]) == (502, "INTERNAL")
        assert "Google token can't be had" in refused.json()["error"]["message"]
        assert provider.calls == []
        tokens.status = 200
        assert (await ask(gateway, "first")).status_code == 200


async def test_a_reload_goes_on_with_the_token_and_a_new_key_takes_one_of_its_own(
    start_gateway: StartGateway, provider: Provider, tokens: Tokens, tmp_path: Path
) -> None:
    async with gateway_of(start_gateway, provider, tokens, tmp_path) as gateway:
        await ask(gateway, "first")
        file = tmp_path / "key.json"
        changed = config(provider, {"googleServiceAccount": {"file": str(file)}})
        changed["spec"]["prefix"]["version"] = "v2"
        gateway.rewrite(changed)
        gateway.running.reloader.check()
        assert gateway.running.reloader.current.prefix.active == "v2"
        await ask(gateway, "first")
        assert (sent(provider), len(tokens.asked)) == (["Bearer ya29.1"] * 2, 1)
        file.write_text(json.dumps(tokens.key() | {"client_email": "other@p.example"}))
        assert gateway.running.reloader.check()
        await ask(gateway, "second")
    assert sent(provider)[-1] == "Bearer ya29.2"


async def test_a_machine_that_google_knows_needs_no_key(tmp_path: Path, provider: Provider, tokens: Tokens) -> None:
    file = tmp_path / "llmcache.yaml"
    file.write_text(yaml.safe_dump(config(provider, {"googleWorkloadIdentity": True})))
    host = tokens.url.removeprefix("http://")
    async with serving_program(file, GCE_METADATA_HOST=host, NO_GCE_CHECK="true") as (_, lines):
        async with httpx.AsyncClient(timeout=30) as client:
            body = {"contents": [{"parts": [{"text": "Hi"}]}]}
            given = await client.post(address(lines, "gateway") + PATH, json=body)
        assert given.status_code == 200, given.text
    assert sent(provider) == ["Bearer ya29.1"]
    assert tokens.asked[0]["path"].endswith("/service-accounts/default/token")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("not json", "it is no key of a Google service account"),
        ("{}", "it is no key of a Google service account"),
        ('{"type": "service_account"}', "it is no key of a Google service account"),
        ('{"type": "authorized_user"}', "it is of type 'authorized_user'"),
    ],
)
async def test_what_is_no_key_is_refused_with_its_place_and_without_its_text(
    tmp_path: Path, provider: Provider, text: str, told: str
) -> None:
    key, file = tmp_path / "key.json", tmp_path / "llmcache.yaml"
    key.write_text(text)
    file.write_text(yaml.safe_dump(config(provider, {"googleServiceAccount": {"file": str(key)}})))
    code, _, err = await finish(await start("serve", "--config", str(file), "--port", "0", "--admin-port", "0"))
    assert (code, f"spec.upstreams[0].credential: {told}" in err, "not json" in err) == (2, True, False)


@pytest.mark.parametrize("credential", [{"googleWorkloadIdentity": True}, {"googleServiceAccount": {"file": "/key"}}])
def test_googles_tokens_are_for_vertex_only(credential: dict[str, Any]) -> None:
    for provider, accepted in (("vertex", True), ("openai", False), ("gemini", False)):
        made = manifest("https://example.org")
        made["spec"]["upstreams"][0] |= {"provider": provider, "credential": credential}
        if accepted:
            load_config(yaml.safe_dump(made))
            continue
        with pytest.raises(ConfigError, match="Google's tokens are for provider vertex"):
            load_config(yaml.safe_dump(made))


async def test_federated_identity_is_taken_for_a_token_too(
    start_gateway: StartGateway, provider: Provider, tokens: Tokens, tmp_path: Path
) -> None:
    (tmp_path / "oidc").write_text("token-of-the-cluster")
    federation = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/k8s",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{tokens.url}/v1/token",
        "credential_source": {"file": str(tmp_path / "oidc")},
    }
    (tmp_path / "federation.json").write_text(json.dumps(federation))
    credential = {"googleServiceAccount": {"file": str(tmp_path / "federation.json")}}
    async with start_gateway(config(provider, credential)) as gateway:
        assert (await ask(gateway, "Hi")).status_code == 200
    assert sent(provider) == ["Bearer ya29.1"]
    assert tokens.asked[0]["form"]["subject_token"] == ["token-of-the-cluster"]
