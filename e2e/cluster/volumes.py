"""The default storage class: a claim gets a folder on the machine's disk, for as long as the claim lives.

Kubernetes' own host-path provisioner makes folders that only root can write. These are `local` volumes, so the
kubelet applies a pod's fsGroup to them.
"""

import shutil
import sys
import time
from pathlib import Path
from typing import Any

from .api import PROVISIONER, Api
from .layout import Layout

CLASS = "standard"
_CLAIMS = "/api/v1/persistentvolumeclaims"
_VOLUMES = "/api/v1/persistentvolumes"


def provide_volumes(api: Api, layout: Layout, folder: Path, interval_seconds: float = 0.3) -> None:
    """Serve claims for ever."""
    while True:
        try:
            serve_claims(api, layout, folder)
        except OSError as error:
            print(f"volumes: {error}", file=sys.stderr, flush=True)
        time.sleep(interval_seconds)


def serve_claims(api: Api, layout: Layout, folder: Path) -> None:
    """Make a volume for every claim that waits for one; drop the volumes whose claim is gone."""
    volumes = {volume["metadata"]["name"]: volume for volume in api.list(_VOLUMES)}
    for claim in api.list(_CLAIMS):
        name = f"pvc-{claim['metadata']['uid']}"
        if waits_for_volume(claim) and name not in volumes:
            path = folder / name
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o777)
            api.apply(f"{_VOLUMES}/{name}", volume_for(claim, path, layout.node_name))
    for name, volume in volumes.items():
        if is_left_over(volume):
            api.delete(f"{_VOLUMES}/{name}")
            shutil.rmtree(volume["spec"]["local"]["path"], ignore_errors=True)


def waits_for_volume(claim: dict[str, Any]) -> bool:
    spec = claim["spec"]
    return (
        spec.get("storageClassName") == CLASS
        and not spec.get("volumeName")
        and "deletionTimestamp" not in claim["metadata"]
    )


def is_left_over(volume: dict[str, Any]) -> bool:
    """Released, or failed because the controller-manager has no deleter for local volumes."""
    ours = volume["metadata"].get("annotations", {}).get("pv.kubernetes.io/provisioned-by") == PROVISIONER
    done = volume["status"].get("phase") in ("Released", "Failed")
    return ours and done and volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"


def volume_for(claim: dict[str, Any], path: Path, node: str) -> dict[str, Any]:
    """The PersistentVolume of a claim: as large as it asked, on this node, bound to it alone."""
    metadata, spec = claim["metadata"], claim["spec"]
    on_node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
        "spec": {
            "storageClassName": CLASS,
            "persistentVolumeReclaimPolicy": "Delete",
            "accessModes": spec["accessModes"],
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "local": {"path": str(path)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [on_node]}]}},
            "claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": metadata["namespace"],
                "name": metadata["name"], "uid": metadata["uid"],
            },
        },
    }  # fmt: skip
