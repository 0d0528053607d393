"""Which prefix version a request belongs to: the active one, or, for a share of requests, the next."""

import hashlib
from dataclasses import dataclass
from typing import Final

BUCKETS: Final = 10_000
"""Parts that requests fall into, evenly and for good. A version's share is counted in them."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """The prefix in use. `next` is None without a rollout; `percent` of the requests belong to it, from 0 to 100."""

    name: str
    active: str
    next: str | None = None
    percent: int = 0

    def __str__(self) -> str:
        rollout = f", {self.percent} % of requests at {self.next}" if self.next is not None else ""
        return f"{self.name} at {self.active}{rollout}"

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions that a request may belong to, the active one first."""
        return (self.active,) if self.next is None else (self.active, self.next)

    def version_of(self, tenant: str, digest: str) -> str:
        """Return the version of a request, by its tenant and its key's digest, of which no version is a part.

        It is the same whenever and wherever the request comes. A greater percentage only moves requests from the
        active version to the next one.
        """
        if self.next is None or not self.percent:
            return self.active
        return self.next if bucket(tenant, digest) * 100 < self.percent * BUCKETS else self.active


def bucket(tenant: str, digest: str) -> int:
    """Return the part of a request, from 0 to BUCKETS - 1."""
    # A tenant has no ':', so that no two pairs make one text.
    hashed = hashlib.sha256(f"{tenant}:{digest}".encode()).digest()
    return int.from_bytes(hashed[:8], "big") % BUCKETS
