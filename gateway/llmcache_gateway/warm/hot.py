"""What gateways are asked most, from their admin ports: of several gateways, put together."""

import asyncio
import socket
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import httpx
import msgspec

from llmcache_gateway.errors import ConfigError
from llmcache_gateway.plaintext import brief, visible


@dataclass(frozen=True, slots=True)
class Hot:
    """Where to ask what is asked most: admin addresses, of one gateway or of all that a name stands for."""

    urls: tuple[str, ...]
    token: str | None
    top: int | None


class Asked(msgspec.Struct):
    """One request as a gateway shows it. `digest` is that of its key; it came at most `count` times."""

    tenant: str
    path: str
    body: msgspec.Raw
    count: int
    digest: str = ""
    error: int = 0
    headers: dict[str, str] = {}

    @property
    def line(self) -> bytes:
        """The request as a line of a list."""
        members = {"tenant": self.tenant, "path": self.path, "headers": self.headers, "body": self.body}
        # A line break between two members is white space; inside a text JSON has none.
        return msgspec.json.encode(members).replace(b"\n", b" ").replace(b"\r", b" ")

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal for two that have one key, however they are written."""
        if self.digest:
            return (self.tenant, self.digest)
        return (self.tenant, self.path, bytes(self.body), *sorted(self.headers.items()))


class Answer(msgspec.Struct):
    """What one gateway says; `instance` names its process."""

    requests: list[Asked]
    instance: str = ""


@dataclass(frozen=True, slots=True)
class _Address:
    """One gateway: where it is, and what it is called."""

    url: str
    host: str
    name: str


def merge(answers: Iterable[Answer]) -> list[Asked]:
    """Return what several gateways are asked most, first the most: counts of one request are added up.

    A gateway that answered under two addresses counts once.
    """
    found: dict[tuple[object, ...], Asked] = {}
    seen: set[str] = set()
    for answer in answers:
        if answer.instance and answer.instance in seen:
            continue
        seen.add(answer.instance)
        for one in answer.requests:
            known = found.get(one.identity)
            if known is None:
                found[one.identity] = one
            else:
                known.count += one.count
                known.error += one.error
    return sorted(found.values(), key=lambda one: -one.count)


def choose(requests: Sequence[Asked], hot: Hot, tenant: str | None, *, as_tenant: bool) -> list[bytes]:
    """Return the lines to send; ConfigError when they are of several tenants, and one credential would ask for all."""
    if tenant is not None:
        requests = [one for one in requests if one.tenant == tenant]
    names = sorted({one.tenant for one in requests})
    if len(names) > 1 and not as_tenant:
        # One credential would put every tenant's prompts into one tenant's cache.
        some = ", ".join(visible(name) for name in names[:20])
        several = f"has requests of several tenants: choose one with --tenant, of {some}"
        raise ConfigError([f"{', '.join(hot.urls)}: {several}; or fill each one's own with --as-tenant"])
    return [one.line for one in requests[: hot.top]]


async def fetch(hot: Hot) -> list[Answer]:
    """Return what each gateway says. ConfigError when none can be reached, or one refuses to tell.

    Of several, one that can't be reached is named and done without: it may just be going.
    """
    addresses = [address for url in hot.urls for address in await _addresses(url)]
    answers: list[Answer] = []
    silent: list[str] = []
    async with httpx.AsyncClient(timeout=30) as client:
        for address in addresses:
            try:
                answers.append(await _ask(client, address, hot.token))
            except httpx.HTTPError as error:
                silent.append(f"{address.name}/admin/v1/hot: {type(error).__name__}: {error}")
    if not answers:
        raise ConfigError(silent)
    for problem in silent:
        sys.stderr.write(f"left out: {problem}\n")
    return answers


async def _ask(client: httpx.AsyncClient, address: _Address, token: str | None) -> Answer:
    headers = {"Host": address.host} | ({} if token is None else {"Authorization": f"Bearer {token}"})
    name = {"sni_hostname": urlsplit(f"//{address.host}").hostname}
    answer = await client.get(f"{address.url}/admin/v1/hot", headers=headers, extensions=name)
    if answer.status_code != 200:
        raise ConfigError([f"{address.name}/admin/v1/hot: status {answer.status_code}: {brief(answer.content)}"])
    try:
        return msgspec.json.decode(answer.content, type=Answer)
    except msgspec.DecodeError:
        raise ConfigError([f"{address.name}/admin/v1/hot: this is no answer of an LLMCache gateway"]) from None


async def _addresses(url: str) -> list[_Address]:
    """Return every gateway that a name stands for, as a headless Service's does."""
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        raise ConfigError([f"{url}: no such address: {error}"]) from None
    hosts = dict.fromkeys(str(address[0]) for *_, address in found)
    addresses = []
    for host in hosts:
        literal = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        name = url if len(hosts) == 1 else f"{url} ({host})"
        addresses.append(_Address(urlunsplit((parts.scheme, literal, parts.path, "", "")), parts.netloc, name))
    return addresses
