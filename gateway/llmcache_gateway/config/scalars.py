"""Scalars that stand as text in a manifest: durations, byte quantities, names.

They are kept verbatim as strings, because a GitOps tool compares what Git says with what the API server
holds; the functions here turn them into numbers where they are used.
"""

import re
from typing import Annotated

from msgspec import Meta

Duration = Annotated[
    str,
    Meta(
        title="a duration",
        pattern=r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$",
        max_length=32,
        examples=["60s", "1h30m", "7d"],
    ),
]
"""A length of time: numbers with the units ms, s, m, h and d, added up."""

Bytes = Annotated[
    str,
    Meta(
        title="a quantity of bytes",
        pattern=r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$",
        max_length=32,
        examples=["512Ki", "64Mi", "2Gi"],
    ),
]
"""A number of bytes in Kubernetes' notation: Ki, Mi, Gi, Ti are powers of 1024; k, M, G, T of 1000."""

Percent = Annotated[
    str,
    Meta(
        title="a percentage",
        pattern=r"^(100|[0-9]{1,2}(\.[0-9]+)?)%$",
        max_length=16,
        examples=["10%", "0.5%"],
    ),
]
"""A share of a hundred, with its sign."""

Quantity = Annotated[
    str,
    Meta(
        title="a Kubernetes quantity",
        pattern=r"^[0-9]+(\.[0-9]+)?(m|Ki|Mi|Gi|Ti|k|M|G|T)?$",
        max_length=32,
        examples=["250m", "1", "512Mi"],
    ),
]
"""A Kubernetes resource quantity: the bytes above, or thousandths of a CPU with m."""

Name = Annotated[
    str,
    Meta(
        title="a name of lower-case letters, digits and '-'",
        pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
        max_length=63,
        examples=["openai", "support-bot"],
    ),
]
"""A name as Kubernetes writes them (RFC 1123 label)."""

SecretName = Annotated[
    str,
    Meta(
        title="the name of a Secret",
        pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$",
        max_length=253,
        examples=["openai"],
    ),
]
"""The name of a Secret (RFC 1123 subdomain)."""

SecretKey = Annotated[
    str,
    Meta(
        title="a key inside a Secret",
        pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*$",
        max_length=253,
        examples=["api-key"],
    ),
]
"""A key of a Secret. It may not begin with a dot: it is read as a file name."""

PrefixPart = Annotated[
    str,
    Meta(
        title="a name of letters, digits, '.', '_' and '-'",
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$",
        max_length=63,
        examples=["prompt-v1", "2026-11-23"],
    ),
]
"""One part of a stored key. It holds no ':', which separates the parts."""

Count = Annotated[
    str,
    Meta(
        title="a number or a percentage, as text",
        pattern=r"^(0|[1-9][0-9]{0,3}|(100|[1-9]?[0-9])%)$",
        max_length=8,
        examples=["'1'", "25%"],
    ),
]
"""A number of pods or a share of them, as a PodDisruptionBudget has it."""

LabelKey = Annotated[
    str,
    Meta(
        title="the name of a label",
        pattern=r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$",
        max_length=317,
        examples=["team", "example.com/team"],
    ),
]
"""The name of a label, with or without a domain."""

LabelValue = Annotated[
    str,
    Meta(
        title="a label's value of letters, digits, '.', '_' and '-'",
        pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$",
        max_length=63,
        examples=["search"],
    ),
]
"""The value of a label."""

Labels = dict[str, LabelValue]
"""Labels: names are checked by the API server where they are used."""

Annotations = dict[str, Annotated[str, Meta(max_length=4096)]]
"""Annotations: free text."""

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_FACTORS = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_BYTES = re.compile(r"([0-9]+(?:\.[0-9]+)?)(Ki|Mi|Gi|Ti|k|M|G|T)?")


def seconds(duration: str) -> float:
    """Return a Duration in seconds; ValueError when the text is none."""
    parts = _DURATION_PART.findall(duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise ValueError(f"{duration!r} is no duration: write numbers with ms, s, m, h or d, such as 60s or 1h30m")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def share(percent: str) -> float:
    """Return a Percent as a number from 0 to 1; ValueError when the text is none."""
    if not percent.endswith("%"):
        raise ValueError(f"{percent!r} is no percentage: write a number with %, such as 10%")
    return float(percent[:-1]) / 100


def byte_count(quantity: str) -> int:
    """Return a Bytes quantity as a whole number of bytes; ValueError when the text is none."""
    match = _BYTES.fullmatch(quantity)
    if match is None:
        raise ValueError(f"{quantity!r} is no quantity of bytes: write a number with Ki, Mi, Gi, such as 64Mi")
    return int(float(match[1]) * _FACTORS[match[2] or ""])
