"""A real Kubernetes on one machine, without Docker; see README.md."""

from .binaries import ensure_binaries
from .cluster import ClusterInfo, ClusterStatus, down, status, up
from .images import build_base_image, build_image, build_redis_image, export_image, load_image
from .layout import DEFAULT_NAME, ClusterError
from .preflight import missing

__all__ = [
    "DEFAULT_NAME",
    "ClusterError",
    "ClusterInfo",
    "ClusterStatus",
    "build_base_image",
    "build_image",
    "build_redis_image",
    "down",
    "ensure_binaries",
    "export_image",
    "load_image",
    "missing",
    "status",
    "up",
]
