"""Bedrock's paths: which of them ask a model, and which one.

Formats: botocore 1.44's model of bedrock-runtime. A model's name or ARN is one segment, of which clients escape more
or less: boto3 all but letters and `-_.~`, Anthropic's SDK the slashes only.
"""

import re
from typing import Final
from urllib.parse import unquote

from llmcache_gateway.dialects.base import Request
from llmcache_gateway.errors import RequestError

BEDROCKS: Final = ("/model/", "/async-invoke", "/guardrail/", "/guardrail-checks/")
"""What paths begin with that are Bedrock's alone."""

MAX_MODEL: Final = 2048
"""Longest name or ARN of a model that Bedrock takes."""

_ASKING: Final = re.compile(r"/model/(?P<model>[^/]+)/(?P<verb>converse(?:-stream)?|invoke(?:-with-response-stream)?)")
_STREAMS: Final = ("converse-stream", "invoke-with-response-stream")
_DRAFT: Final = re.compile(r"arn:[^:]*:bedrock:.*:prompt/[^:]+")


def asking(path: str) -> re.Match[str] | None:
    """Return the parts of a path that asks a model: `model`, as it was escaped, and `verb`."""
    return _ASKING.fullmatch(path)


def is_draft(model: str) -> bool:
    """Say whether a model's name is that of a stored prompt without a version, which changes when it is edited."""
    return _DRAFT.fullmatch(model) is not None


def is_edited(guardrail: object, version: object) -> bool:
    """Say whether a guardrail of this version may change: a draft does, and what no number names may be one."""
    version = version.strip() if isinstance(version, str) else ""
    return version.upper() == "DRAFT" or (bool(guardrail) and not (version.isascii() and version.isdigit()))


def read_request(members: object, body: bytes, target: str) -> Request:
    """Return the request that was sent to a path of Bedrock's; RequestError when it is none."""
    found = asking(target.partition("?")[0])
    model = unquote(found["model"]) if found is not None else ""
    # What is escaped and no UTF-8 becomes U+FFFD, in which several names would be one.
    if found is None or not 0 < len(model) <= MAX_MODEL or not model.isprintable() or "\ufffd" in model:
        raise RequestError(400, "The path names no model that can be read.", code="invalid_model")
    if not isinstance(members, dict):
        raise RequestError(400, "The body must be a JSON object.", code="invalid_json")
    return Request(
        model=model, stream=found["verb"] in _STREAMS, members=members, body=body, target=target, written="frames"
    )
