"""`make cluster`: a real cluster with the operator and the quickstart, left running for a person."""

import argparse
import sys

import helm_python

from e2e.cluster import DEFAULT_NAME, ClusterError, build_image, build_redis_image, down, missing, up
from e2e.cluster.layout import REPOSITORY
from e2e.target import Target, image_values

SYSTEM = "llmcache-system"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m e2e.demo", description=__doc__)
    parser.add_argument("--name", default=DEFAULT_NAME, help="the cluster (default %(default)s)")
    name = parser.parse_args().name
    if lacking := missing():
        sys.exit("no cluster here, missing:\n" + "\n".join(lacking))
    try:
        _start(name)
    except (ClusterError, helm_python.HelmError) as error:
        down(name)
        sys.exit(f"{error}\nthe cluster is taken down again")


def _start(name: str) -> None:
    print("building the images")
    images = {
        program: build_image(f"{program}/Dockerfile", f"localhost/llmcache/{program}:dev")
        for program in ("gateway", "operator")
    }
    redis = build_redis_image()
    print("starting the cluster")
    info = up(name)
    cluster = Target(info.kubeconfig, info)
    for tag in (*images.values(), redis):
        cluster.load(tag)
    print("installing the operator from its chart")
    values = {
        "image": image_values(images["operator"]),
        "defaults": {"gatewayImage": image_values(images["gateway"]), "redisImage": image_values(redis)},
    }
    helm = helm_python.Config(kubeconfig_path=info.kubeconfig, namespace=SYSTEM)
    if not any(release["name"] == "llmcache" for release in helm.list()):
        helm.install(
            REPOSITORY / "charts" / "llmcache", "llmcache", values, wait="watcher", timeout=90, create_namespace=True
        )
    cluster.kubectl("apply", "-f", str(REPOSITORY / "examples" / "01-quickstart" / "llmcache.yaml"))
    cluster.kubectl("wait", "llmcache/quickstart", "--for=condition=Ready", "--timeout=90s")
    address = cluster.kubectl("get", "service", "quickstart", "-o", "jsonpath={.spec.clusterIP}")
    body = '{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "What is a cache?"}]}'
    chosen = "" if name == DEFAULT_NAME else f" CLUSTER={name}"
    print(
        f"""
The cluster runs. Try:

  export KUBECONFIG={info.kubeconfig}
  kubectl get llmc
  curl -si http://{address}:4000/v1/chat/completions -d '{body}'
  kubectl patch llmc quickstart --type=merge -p '{{"spec": {{"prefix": {{"version": "v2"}}}}}}'

The curl says MISS, and when pasted again HIT. After the patch, once `kubectl get llmc` shows v2 as ACTIVE (within
seconds), it is a MISS under v2, and no pod has restarted. The quickstart as it was: make cluster{chosen}
Take it all down with: make cluster-down{chosen}
"""
    )


if __name__ == "__main__":
    main()
