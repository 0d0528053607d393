"""Where everything of a cluster is: folders outside, paths inside, addresses."""

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path

DEFAULT_NAME = "llmcache"
SLOTS = 200
"""How many clusters can coexist on one machine; each has a /24 for pods and a /22 for services."""

INSIDE = Path("/run/llmcache")
"""Where the cluster's folder is mounted inside: short, so that socket paths fit into their 108 bytes."""
PROGRAMS = Path("/run/llmcache-programs")
"""Where the built programs are mounted inside."""

REPOSITORY = Path(__file__).resolve().parents[2]


class ClusterError(Exception):
    """Something about the cluster went wrong; the message says what, where, and what to do."""


def cache_folder() -> Path:
    """`$LLMCACHE_CACHE/cluster`, by default under `~/.cache/llmcache`."""
    root = os.environ.get("LLMCACHE_CACHE") or "~/.cache/llmcache"
    return Path(root).expanduser().absolute() / "cluster"


def checked_name(name: str) -> str:
    """The name itself, if it can name a node, a folder and a cgroup; ClusterError otherwise."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", name):
        raise ClusterError(f"cluster name {name!r}: use 1 to 40 of a-z, 0-9 and -, as in 'llmcache-test'")
    return name


def run_folder(name: str) -> Path:
    """All that a running cluster writes; only its `logs` outlive it."""
    return cache_folder() / "run" / checked_name(name)


def lock_file(name: str) -> Path:
    """Locked by the cluster's supervisor for as long as it lives; holds that process's id."""
    return cache_folder() / "run" / f"{checked_name(name)}.lock"


@dataclass(frozen=True, slots=True)
class Layout:
    """One cluster's name and its place among the others (`slot`, 0 to 199): all addresses follow from these."""

    name: str
    slot: int

    @property
    def node_name(self) -> str:
        return self.name

    @property
    def node_address(self) -> str:
        """The address of the API server, the kubelet and the cluster's DNS."""
        return f"10.203.{self.slot}.2"

    @property
    def host_address(self) -> str:
        """The machine's own end of the link: where pods reach what a test process serves."""
        return f"10.203.{self.slot}.1"

    @property
    def link_cidr(self) -> str:
        return f"10.203.{self.slot}.0/30"

    @property
    def pod_cidr(self) -> str:
        return f"10.201.{self.slot}.0/24"

    @property
    def _services(self) -> str:
        return f"10.{204 + self.slot // 64}.{self.slot % 64 * 4}"

    @property
    def service_cidr(self) -> str:
        return f"{self._services}.0/22"

    @property
    def api_service_address(self) -> str:
        """What `kubernetes.default` resolves to: always the first of the service range."""
        return f"{self._services}.1"

    @property
    def networks(self) -> tuple[ipaddress.IPv4Network, ...]:
        return tuple(ipaddress.IPv4Network(cidr) for cidr in (self.link_cidr, self.pod_cidr, self.service_cidr))

    @property
    def link_name(self) -> str:
        """The host's end of the veth pair."""
        return f"llmc{self.slot}"

    @property
    def cgroup(self) -> str:
        """The cgroup that holds the cluster's pods, so that two kubelets don't clear away each other's."""
        return f"llmcache-{self.name}"

    @property
    def api_server(self) -> str:
        return f"https://{self.node_address}:6443"
