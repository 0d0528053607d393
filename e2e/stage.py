"""A namespace with the operator in it, a pod from the chart with the chart's rights, and the way to what runs there."""

import base64
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import helm_python
import openai

from e2e.cluster import build_image, build_redis_image
from e2e.cluster.layout import REPOSITORY
from e2e.target import Target, image_values


class Stage:
    """One namespace, and how to reach what runs in it."""

    def __init__(self, cluster: Target, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    @classmethod
    @contextmanager
    def set(cls, cluster: Target, namespace: str) -> Iterator[Self]:
        """The CRD applied, the operator installed from the chart for one namespace; all of it removed at the end."""
        images = {name: f"localhost/llmcache/{name}:e2e" for name in ("gateway", "operator")}
        for name, tag in images.items():
            cluster.load(build_image(f"{name}/Dockerfile", tag))
        redis = build_redis_image()
        cluster.load(redis)
        cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(REPOSITORY / "crds"))
        cluster.kubectl("create", "namespace", namespace)
        cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
        values = {
            "crds": {"enabled": False},
            "watchNamespaces": [namespace],
            "image": image_values(images["operator"]),
            "defaults": {"gatewayImage": image_values(images["gateway"]), "redisImage": image_values(redis)},
        }
        helm = helm_python.Config(kubeconfig_path=cluster.kubeconfig, namespace=namespace)
        helm.install(REPOSITORY / "charts" / "llmcache", "operator", values, wait="watcher", timeout=90)
        yield cls(cluster, namespace)
        cluster.kubectl("delete", "llmcaches", "--all", "-n", namespace, "--timeout=60s")
        helm.uninstall("operator")
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")

    def kubectl(self, *words: str, given: Any = None) -> str:
        text = json.dumps(given) if given is not None else None
        return self.cluster.kubectl("-n", self.namespace, *words, given=text)

    def apply(self, name: str, upstream: dict[str, Any], **spec: Any) -> None:
        manifest = {
            "apiVersion": "llmcache.dev/v1alpha1",
            "kind": "LLMCache",
            "metadata": {"name": name},
            "spec": {"upstreams": [upstream], "prefix": {"version": "v1"}, **spec},
        }
        self.kubectl("apply", "-f", "-", given=manifest)

    def wait_ready(self, name: str) -> None:
        try:
            self.kubectl("wait", f"llmcache/{name}", "--for=condition=Ready", "--timeout=90s")
        except Exception as error:
            raise AssertionError(f"{error}\n{self.seen(name)}") from error

    def pods(self, name: str) -> list[dict[str, Any]]:
        selector = f"app.kubernetes.io/instance={name},app.kubernetes.io/component=gateway"
        found = json.loads(self.kubectl("get", "pods", "-l", selector, "-o", "json"))["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    @contextmanager
    def reach(self, pod: str, port: int) -> Iterator[str]:
        """Forward a local port to one pod; yield its address."""
        kubectl = [f"{sys.prefix}/bin/kubectl", "--kubeconfig", str(self.cluster.kubeconfig), "-n", self.namespace]
        command = [*kubectl, "port-forward", f"pod/{pod}", f":{port}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                match = re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())
                assert match is not None, "kubectl port-forward did not say its port"
                # It says a line for each connection, and would stand still once the pipe is full.
                threading.Thread(target=process.stdout.read, daemon=True).start()
                yield f"http://127.0.0.1:{match[1]}"
            finally:
                process.terminate()

    @contextmanager
    def clients(self, name: str) -> Iterator[list[openai.OpenAI]]:
        """The official SDK, pointed at each gateway pod of an LLMCache in turn; always two, of one pod or of two."""
        pods = [pod["metadata"]["name"] for pod in self.pods(name)]
        with self.reach(pods[0], 4000) as first, self.reach(pods[-1], 4000) as second:
            made = [openai.OpenAI(base_url=f"{url}/v1", api_key="sk-app", max_retries=0) for url in (first, second)]
            yield made
            for client in made:
                client.close()

    def seen(self, name: str) -> str:
        """Return what there is to see of an LLMCache: for messages of tests that fail."""
        return self.kubectl("get", "llmcache,pods,jobs", "-o", "wide") + self.kubectl(
            "get", "llmcache", name, "-o", "yaml"
        )

    def decoded(self, value: str) -> str:
        """Return a value of a Secret."""
        return base64.b64decode(value).decode()
