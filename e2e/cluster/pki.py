"""The cluster's small certificate authority, so that pods and tests verify the API server as they do anywhere."""

import secrets
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .layout import ClusterError, Layout

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")

TOKEN_USERS: dict[str, tuple[str, str]] = {
    "admin": ("kubernetes-admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "proxy": ("system:kube-proxy", ""),
    "dns": ("system:coredns", ""),
}
"""Who may ask the API server with a token: the program, its user name, its group. The kubelet's follows the node."""


def issue(folder: Path, layout: Layout) -> None:
    """Write `ca`, every server and client certificate and the ServiceAccount key into `folder`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _openssl(
        "req", "-x509", *_KEY, "-keyout", "ca.key", "-out", "ca.crt", "-days", "3650", "-subj", "/CN=llmcache-e2e",
        "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        folder=folder,
    )  # fmt: skip
    names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ]
    addresses = [layout.api_service_address, layout.node_address, "127.0.0.1"]
    _certificate(folder, "apiserver", "/CN=kube-apiserver", [*names, "localhost"], addresses)
    _certificate(folder, "kubelet", f"/O=system:nodes/CN=system:node:{layout.node_name}",
                 [layout.node_name], [layout.node_address])  # fmt: skip
    _certificate(folder, "apiserver-kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client")
    _certificate(folder, "front-proxy-client", "/CN=front-proxy-client")
    _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "service-account.key",
             folder=folder)  # fmt: skip
    _openssl("pkey", "-in", "service-account.key", "-pubout", "-out", "service-account.pub", folder=folder)


def new_tokens() -> dict[str, str]:
    """A fresh random token for every program that talks to the API server."""
    return {program: secrets.token_hex(24) for program in (*TOKEN_USERS, "kubelet")}


def token_file(layout: Layout, tokens: dict[str, str]) -> str:
    """The API server's --token-auth-file: token, user, uid, groups."""
    users = {**TOKEN_USERS, "kubelet": (f"system:node:{layout.node_name}", "system:nodes")}
    rows = (f'{tokens[program]},{user},{user},"{group}"' for program, (user, group) in users.items())
    return "\n".join(rows) + "\n"


def _certificate(
    folder: Path, name: str, subject: str, names: Sequence[str] = (), addresses: Sequence[str] = ()
) -> None:
    alternatives = ",".join([*(f"DNS:{entry}" for entry in names), *(f"IP:{entry}" for entry in addresses)])
    extra = ["-addext", f"subjectAltName={alternatives}"] if alternatives else []
    _openssl(
        "req", "-x509", *_KEY, "-CA", "ca.crt", "-CAkey", "ca.key", "-days", "3650", "-subj", subject,
        "-keyout", f"{name}.key", "-out", f"{name}.crt", "-addext", "basicConstraints=critical,CA:FALSE",
        "-addext", "keyUsage=critical,digitalSignature", "-addext", "extendedKeyUsage=serverAuth,clientAuth", *extra,
        folder=folder,
    )  # fmt: skip


def _openssl(*arguments: str, folder: Path) -> None:
    done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"openssl {arguments[0]} failed: {done.stderr.strip()}")
