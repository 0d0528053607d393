"""Every component's configuration and command line, as functions of the layout. All paths are those inside."""

import base64
import json
from dataclasses import dataclass
from typing import Any

from .layout import INSIDE, PROGRAMS, Layout

CONTAINERD_SOCKET = INSIDE / "containerd.sock"
IMAGES_FOLDER = "images"
"""The one folder of a run that the next one goes on with: containerd's, with the images that were loaded."""
CTR = (f"{PROGRAMS}/ctr", "--address", str(CONTAINERD_SOCKET), "--namespace", "k8s.io")
PAUSE_IMAGE = "localhost/pause:1"
SERVICE_ISSUER = "https://kubernetes.default.svc.cluster.local"
DNS_READY_PORT = 8181

KERNEL_TUNABLES = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/keys/root_maxbytes": 25000000,
}
"""What the kubelet wants under /proc/sys, and would set for the whole machine where it finds another value."""


@dataclass(frozen=True, slots=True)
class Component:
    """One long-running program: its name, which is its log's name too, and its command line."""

    name: str
    command: tuple[str, ...]


def etcd() -> Component:
    client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
    # Nothing in here has to survive a power cut.
    return Component("etcd", (
        "etcd", "--name=node", f"--data-dir={INSIDE}/etcd", "--unsafe-no-fsync", "--logger=zap", "--log-level=warn",
        f"--listen-client-urls={client}", f"--advertise-client-urls={client}", f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=node={peer}",
    ))  # fmt: skip


def containerd() -> Component:
    return Component("containerd", (f"{PROGRAMS}/containerd", f"--config={INSIDE}/etc/containerd.toml"))


def bare_containerd() -> Component:
    """containerd without Kubernetes' part: it leaves alone the containers that it finds."""
    return Component("containerd-bare", (f"{PROGRAMS}/containerd", f"--config={INSIDE}/etc/containerd-bare.toml"))


def apiserver(layout: Layout) -> Component:
    pki = INSIDE / "pki"
    return Component("kube-apiserver", (
        f"{PROGRAMS}/kube-apiserver",
        f"--bind-address={layout.node_address}", f"--advertise-address={layout.node_address}", "--secure-port=6443",
        "--etcd-servers=http://127.0.0.1:2379", f"--service-cluster-ip-range={layout.service_cidr}",
        f"--cert-dir={pki}", f"--tls-cert-file={pki}/apiserver.crt", f"--tls-private-key-file={pki}/apiserver.key",
        "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
        f"--token-auth-file={INSIDE}/etc/tokens.csv",
        f"--service-account-issuer={SERVICE_ISSUER}",
        f"--service-account-key-file={pki}/service-account.pub",
        f"--service-account-signing-key-file={pki}/service-account.key",
        f"--kubelet-client-certificate={pki}/apiserver-kubelet-client.crt",
        f"--kubelet-client-key={pki}/apiserver-kubelet-client.key",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        # By default exec and logs ask DNS for the node's name.
        "--kubelet-preferred-address-types=InternalIP",
        # Aggregated APIs, as metrics-server is one.
        f"--requestheader-client-ca-file={pki}/ca.crt", "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki}/front-proxy-client.crt",
        f"--proxy-client-key-file={pki}/front-proxy-client.key",
    ))  # fmt: skip


def controller_manager(layout: Layout) -> Component:
    pki = INSIDE / "pki"
    return Component("kube-controller-manager", (
        f"{PROGRAMS}/kube-controller-manager", f"--kubeconfig={INSIDE}/etc/controller-manager.kubeconfig",
        "--bind-address=127.0.0.1", "--leader-elect=false", "--use-service-account-credentials=true",
        f"--service-account-private-key-file={pki}/service-account.key", f"--root-ca-file={pki}/ca.crt",
        f"--cluster-signing-cert-file={pki}/ca.crt", f"--cluster-signing-key-file={pki}/ca.key",
        f"--cluster-cidr={layout.pod_cidr}", "--kube-api-qps=100", "--kube-api-burst=200",
    ))  # fmt: skip


def scheduler() -> Component:
    return Component("kube-scheduler", (
        f"{PROGRAMS}/kube-scheduler", f"--kubeconfig={INSIDE}/etc/scheduler.kubeconfig", "--bind-address=127.0.0.1",
        "--leader-elect=false",
    ))  # fmt: skip


def kubelet(layout: Layout) -> Component:
    return Component("kubelet", (
        f"{PROGRAMS}/kubelet", f"--config={INSIDE}/etc/kubelet.json", f"--kubeconfig={INSIDE}/etc/kubelet.kubeconfig",
        f"--root-dir={INSIDE}/kubelet", f"--cert-dir={INSIDE}/kubelet/pki", f"--node-ip={layout.node_address}",
        f"--hostname-override={layout.node_name}",
    ))  # fmt: skip


def proxy() -> Component:
    return Component("kube-proxy", (f"{PROGRAMS}/kube-proxy", f"--config={INSIDE}/etc/proxy.json"))


def dns() -> Component:
    return Component("coredns", (f"{PROGRAMS}/coredns", f"-conf={INSIDE}/etc/Corefile"))


def configuration(layout: Layout, tokens: dict[str, str], authority: bytes) -> dict[str, str]:
    """Every file of `etc/`, by name; `authority` is the CA certificate that clients verify the API server with."""
    kubeconfigs = {
        f"{program}.kubeconfig": kubeconfig(layout, tokens[program], authority)
        for program in ("controller-manager", "scheduler", "kubelet", "proxy", "dns")
    }
    return {
        **kubeconfigs,
        "containerd.toml": _containerd_toml(),
        "containerd-bare.toml": _containerd_toml("io.containerd.grpc.v1.cri"),
        "cni/10-llmcache.conflist": json.dumps(_cni(layout), indent=2),
        "kubelet.json": json.dumps(_kubelet(layout), indent=2),
        "proxy.json": json.dumps(_proxy(layout), indent=2),
        "Corefile": _corefile(layout),
        "resolv.conf": f"nameserver {layout.node_address}\n",
    }


def kubeconfig(layout: Layout, token: str, authority: bytes) -> str:
    """A kubeconfig in JSON, which every reader of YAML takes."""
    cluster = {
        "server": layout.api_server,
        "certificate-authority-data": base64.b64encode(authority).decode(),
    }
    return json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": layout.name,
        "clusters": [{"name": layout.name, "cluster": cluster}],
        "users": [{"name": layout.name, "user": {"token": token}}],
        "contexts": [{"name": layout.name, "context": {"cluster": layout.name, "user": layout.name}}],
    }, indent=2)  # fmt: skip


def _containerd_toml(*disabled: str) -> str:
    # restrict_oom_score_adj: without CAP_SYS_RESOURCE a score can't be lowered. NRI has nothing to do here.
    plugins = json.dumps(["io.containerd.nri.v1.nri", *disabled])
    return f"""\
version = 3
root = "{INSIDE}/{IMAGES_FOLDER}"
state = "/run/containerd"
disabled_plugins = {plugins}

[grpc]
address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.internal.v1.opt"]
path = "{INSIDE}/opt"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE_IMAGE}"

[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
disable_apparmor = true
netns_mounts_under_state_dir = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{PROGRAMS}"]
conf_dir = "{INSIDE}/etc/cni"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
SystemdCgroup = false
"""


def _cni(layout: Layout) -> dict[str, Any]:
    # ptp rather than bridge: a pod that reaches a pod through a Service is routed, so that the answer's address is
    # translated back; across a bridge that takes the br_netfilter module.
    ipam = {
        "type": "host-local", "dataDir": f"{INSIDE}/cni", "ranges": [[{"subnet": layout.pod_cidr}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }  # fmt: skip
    plugins = [
        {"type": "ptp", "ipMasq": False, "ipam": ipam},
        {"type": "portmap", "backend": "nftables", "capabilities": {"portMappings": True}},
    ]
    return {"cniVersion": "1.0.0", "name": "llmcache", "plugins": plugins}


def _kubelet(layout: Layout) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{INSIDE}/pki/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{INSIDE}/pki/kubelet.crt",
        "tlsPrivateKeyFile": f"{INSIDE}/pki/kubelet.key",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "clusterDNS": [layout.node_address],
        "clusterDomain": "cluster.local",
        "resolvConf": f"{INSIDE}/etc/resolv.conf",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "makeIPTablesUtilChains": False,
        "volumePluginDir": f"{INSIDE}/volume-plugins",
        # Development machines have full disks, and nobody pulls these images again.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%",
                         "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        # How soon a running pod sees its changed ConfigMap.
        "configMapAndSecretChangeDetectionStrategy": "Watch",
        "syncFrequency": "2s",
        "serializeImagePulls": False,
    }  # fmt: skip


def _proxy(layout: Layout) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": f"{INSIDE}/etc/proxy.kubeconfig"},
        "clusterCIDR": layout.pod_cidr,
        "hostnameOverride": layout.node_name,
        "nftables": {"minSyncPeriod": "0.2s"},
        # The machine's conntrack limits aren't the cluster's to change.
        "conntrack": {"maxPerCore": 0},
    }


def _corefile(layout: Layout) -> str:
    # Pods have no way out of the machine: any other name gets a definite no at once, rather than a refusal that
    # resolvers retry for seconds. In a block of its own, because template goes before kubernetes wherever it stands.
    return f"""\
cluster.local:53 in-addr.arpa:53 {{
    bind {layout.node_address}
    errors
    ready {layout.node_address}:{DNS_READY_PORT}
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {INSIDE}/etc/dns.kubeconfig {layout.name}
        pods insecure
    }}
    loadbalance
}}
llmcache.internal:53 {{
    bind {layout.node_address}
    hosts {{
        {layout.host_address} host.llmcache.internal
        no_reverse
    }}
}}
.:53 {{
    bind {layout.node_address}
    template ANY ANY . {{
        rcode NXDOMAIN
    }}
}}
"""
