"""The link between the machine and the cluster's network namespace. It all vanishes with the namespace."""

import ipaddress
import json
import subprocess
import time
import zlib
from pathlib import Path

from .layout import SLOTS, ClusterError, Layout


def connect(name: str, process: int) -> Layout:
    """Link the network namespace of `process` to this machine's, in the first free slot, and route to it.

    The kernel refuses a second link of the same name, so two clusters that start at once can't get the same slot.
    """
    first = zlib.crc32(name.encode()) % SLOTS
    for offset in range(SLOTS):
        layout = Layout(name, (first + offset) % SLOTS)
        if not _is_free(layout):
            continue
        added = _ip("link", "add", layout.link_name, "type", "veth", "peer", "name", "eth0", "netns", str(process))
        if added.returncode == 0:
            _route(layout)
            return layout
        if "File exists" not in added.stderr:
            raise ClusterError(f"no veth pair for the cluster: ip link add: {added.stderr.strip()}")
    raise ClusterError(f"all of 10.201.0.0 to 10.203.{SLOTS - 1}.0 are routed on this machine already: see `ip route`")


def configure_inside(layout: Layout) -> None:
    """Bring up both devices of the namespace this process is in, and let it forward to pods."""
    for command in (
        ("link", "set", "lo", "up"),
        ("address", "add", f"{layout.node_address}/30", "dev", "eth0"),
        ("link", "set", "eth0", "up"),
    ):
        _checked(*command)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def remove_link(link_name: str, timeout_seconds: float = 5) -> None:
    """Wait until the kernel has cleared the link away with its namespace; delete it where that does not come."""
    deadline = time.monotonic() + timeout_seconds
    while Path("/sys/class/net", link_name).exists():
        if time.monotonic() > deadline:
            _ip("link", "delete", link_name)
            return
        time.sleep(0.02)


def _route(layout: Layout) -> None:
    device = layout.link_name
    _checked("address", "add", f"{layout.host_address}/30", "dev", device)
    _checked("link", "set", device, "up")
    for network in (layout.pod_cidr, layout.service_cidr):
        _checked("route", "add", network, "via", layout.node_address, "dev", device)


def _is_free(layout: Layout) -> bool:
    """Whether no route leads into the slot. A wider one, a VPN's 10.0.0.0/8 say, does no harm: ours are narrower."""
    routes = json.loads(_ip("-json", "-4", "route", "show").stdout or "[]")
    taken = [
        ipaddress.IPv4Network(route["dst"], strict=False)
        for route in routes
        if route.get("dst", "default") != "default"
    ]
    return not any(route.subnet_of(network) for route in taken for network in layout.networks)


def _checked(*arguments: str) -> None:
    done = _ip(*arguments)
    if done.returncode != 0:
        raise ClusterError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def _ip(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
