"""Real Redis of every kind that a store can have: with TLS and users, behind Sentinels, as a cluster."""

import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import trustme

from tests.redis_server import RedisServer, free_port, running_redis, until_says

MASTER = "cache"
SLOTS = 16384
USER = "llmcache"
PASSWORD = "pass word"

DOCS = Path(__file__).parents[1] / "docs" / "stores.md"


def documented_user(password: str, *, cluster: bool = False) -> list[str]:
    """Return the words that make the gateway's user, as docs/stores.md tells them, with a password."""
    text = DOCS.read_text()
    found = re.search(r"ACL SETUSER (llmcache on >PASSWORD [^`]*)", text)
    assert found is not None
    words = found[1].replace("\\", " ").replace(">PASSWORD", f">{password}".replace(" ", "\0")).split()
    if cluster:
        more = re.search(r"in a cluster on every node[^`]*`([^`]*)`", text)
        assert more is not None
        words += more[1].split()
    return [word.replace("\0", " ") for word in words]


class Redis(Protocol):
    """A running Redis of any kind."""

    @property
    def external(self) -> dict[str, Any]:
        """How a manifest's `redis.external` names it."""

    @property
    def servers(self) -> list[RedisServer]:
        """All that keep entries."""

    @property
    def primaries(self) -> list[RedisServer]:
        """The servers that take writes."""

    @property
    def secrets(self) -> Path | None:
        """A folder of Secrets, with all that `external` names."""


@dataclass(frozen=True)
class Certificates:
    """An authority, a server's certificate for 127.0.0.1 and `redis.example`, and a client's."""

    ca: Path
    server: Path
    client: Path
    """Each but the authority's: the key first, then the certificate."""

    @property
    def options(self) -> list[str]:
        """What a server is started with."""
        return [word for name, path in self.files.items() for word in (f"--{name}", path)]

    @property
    def files(self) -> dict[str, str]:
        """A server's settings."""
        pem = str(self.server)
        return {"tls-cert-file": pem, "tls-key-file": pem, "tls-ca-cert-file": str(self.ca)}

    @property
    def client_options(self) -> tuple[str, ...]:
        """What redis-cli connects with."""
        return ("--tls", "--cacert", str(self.ca), "--cert", str(self.client), "--key", str(self.client))


def make_certificates(folder: Path, *hosts: str) -> Certificates:
    authority = trustme.CA()
    made = Certificates(folder / "ca.pem", folder / "server.pem", folder / "client.pem")
    authority.cert_pem.write_to_path(made.ca)
    for path, names in ((made.server, hosts or ("127.0.0.1", "redis.example")), (made.client, ("gateway",))):
        authority.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(path)
    return made


@dataclass(frozen=True)
class Guarded:
    """A Redis that speaks TLS only, asks for a client's certificate, and has one user with the documented rights."""

    server: RedisServer
    certificates: Certificates
    secrets: Path

    @property
    def servers(self) -> list[RedisServer]:
        return [self.server]

    @property
    def primaries(self) -> list[RedisServer]:
        return self.servers

    @property
    def external(self) -> dict[str, Any]:
        own = {part: {"secretRef": {"name": "redis", "key": "client.pem"}} for part in ("certificate", "key")}
        return {
            "url": f"rediss://{self.server.host}/0",
            "tls": {"ca": {"secretRef": {"name": "redis", "key": "ca.pem"}}, "clientCertificate": own},
            "credential": {"username": USER, "secretRef": {"name": "redis", "key": "password"}},
        }


@contextmanager
def running_guarded(folder: Path, *hosts: str) -> Iterator[Guarded]:
    secret = folder / "secrets" / "redis"
    secret.mkdir(parents=True)
    certificates = make_certificates(secret, *hosts)
    (secret / "password").write_text(PASSWORD)
    with running_redis(*certificates.options, tls=True, client_options=certificates.client_options) as server:
        server.command("ACL", "SETUSER", *documented_user(PASSWORD))
        yield Guarded(server, certificates, folder / "secrets")


@dataclass(frozen=True)
class Sentinels:
    """A primary with a replica, and the Sentinels that watch them."""

    servers: list[RedisServer]
    sentinels: list[RedisServer]
    secrets: Path | None = None

    @property
    def external(self) -> dict[str, Any]:
        return {"sentinel": {"master": MASTER, "hosts": [one.host for one in self.sentinels]}}

    @property
    def primaries(self) -> list[RedisServer]:
        """The server that the Sentinels name now."""
        port = self.sentinels[0].command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER).split()[1]
        return [one for one in self.servers if one.port == int(port)]


@contextmanager
def running_sentinels(folder: Path, options: Sequence[str] = (), count: int = 3, **more: Any) -> Iterator[Sentinels]:
    with ExitStack() as stack:
        quick = ("--repl-diskless-sync-delay", "0", *options)
        primary = stack.enter_context(running_redis(*quick, **more))
        replica = stack.enter_context(running_redis(*quick, "--replicaof", "127.0.0.1", str(primary.port), **more))
        until_says(replica, "master_link_status:up", "INFO", "replication")
        sentinels = []
        for number in range(count):
            file = folder / f"sentinel-{number}.conf"
            file.write_text(
                f"sentinel monitor {MASTER} 127.0.0.1 {primary.port} {count // 2 + 1}\n"
                f"sentinel down-after-milliseconds {MASTER} 500\n"
                f"sentinel failover-timeout {MASTER} 3000\n"
            )
            sentinels.append(stack.enter_context(running_redis(*options, first=(str(file), "--sentinel"), **more)))
        for one in sentinels:
            until_says(one, f"slaves=1,sentinels={count}", "INFO", "sentinel")
        yield Sentinels([primary, replica], sentinels)


@dataclass(frozen=True)
class Cluster:
    """Primaries, and as many replicas of each as were asked for."""

    primaries: list[RedisServer]
    replicas: list[RedisServer]
    secrets: Path | None = None

    @property
    def external(self) -> dict[str, Any]:
        return {"cluster": {"hosts": [one.host for one in self.primaries]}}

    @property
    def servers(self) -> list[RedisServer]:
        return [*self.primaries, *self.replicas]

    def primary_of(self, name: str) -> RedisServer:
        """Return the server that had a name's slot at the beginning."""
        slot = int(self.primaries[0].command("CLUSTER", "KEYSLOT", name))
        return self.primaries[slot * len(self.primaries) // SLOTS]


@contextmanager
def running_cluster(options: Sequence[str] = (), replicas: int = 0, **more: Any) -> Iterator[Cluster]:
    """Run three primaries that share the slots evenly."""
    with ExitStack() as stack:

        def node() -> tuple[RedisServer, int]:
            bus = free_port()
            own = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", str(bus))
            quick = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"]
            quick += ["--cluster-replica-validity-factor", "0"]
            return stack.enter_context(running_redis(*own, *quick, *options, **more)), bus

        primaries = [node() for _ in range(3)]
        seconds = [node() for _ in range(3 * replicas)]
        everyone = [*primaries, *seconds]
        for number, (server, bus) in enumerate(everyone):
            server.command("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
            if number < len(primaries):
                bounds = [-(-SLOTS * at // len(primaries)) for at in (number, number + 1)]
                server.command("CLUSTER", "ADDSLOTSRANGE", str(bounds[0]), str(bounds[1] - 1))
            if number:
                everyone[0][0].command("CLUSTER", "MEET", "127.0.0.1", str(server.port), str(bus))
        for server, _ in everyone:
            until_says(server, "cluster_state:ok", "CLUSTER", "INFO")
            until_says(server, f"cluster_known_nodes:{len(everyone)}", "CLUSTER", "INFO")
        for (replica, _), (primary, _) in zip(seconds, itertools.cycle(primaries), strict=False):
            replica.command("CLUSTER", "REPLICATE", primary.command("CLUSTER", "MYID"))
            until_says(replica, "master_link_status:up", "INFO", "replication")
        for server, _ in everyone:
            until_says(server, "127.0.0.1", "CLUSTER", "SLOTS", times=len(everyone))
        yield Cluster([server for server, _ in primaries], [server for server, _ in seconds])
