"""Anthropic's messages on Vertex AI: `…/publishers/anthropic/models/MODEL:rawPredict` and `:streamRawPredict`.

Format: Anthropic's SDK (`AnthropicVertex`, anthropic 2.12). The path names the model and whether the answer streams;
the body is that of messages without a model and with `anthropic_version`. Counting tokens is a model of its own there.
"""

import re
from typing import Any, Final

from msgspec.structs import replace

from llmcache_gateway.dialects.anthropic_messages import AnthropicMessages
from llmcache_gateway.dialects.base import Request
from llmcache_gateway.errors import RequestError

_PATH: Final = re.compile(
    r"(?P<resource>/v1(?:(?:alpha|beta)[0-9]*)?/projects/[^/%]+/locations/[^/%]+/publishers/anthropic/models/"
    r"(?P<model>(?!count-tokens:)[A-Za-z0-9._@-]{1,256})):(?P<verb>rawPredict|streamRawPredict)"
)


class AnthropicVertex(AnthropicMessages):
    """The dialect of messages on Vertex AI, the same but for where it stands."""

    path = "/v1/projects/PROJECT/locations/LOCATION/publishers/anthropic/models/MODEL:rawPredict"
    providers = frozenset({"vertex", "echo"})

    def parse(self, members: Any, body: bytes, target: str = "") -> Request:
        found = predicting(target.partition("?")[0])
        if found is None:
            raise RequestError(400, f"{target[:80]!r} is none of {self.path}.", code="invalid_path")
        if not isinstance(members, dict):
            raise RequestError(400, "The body must be a JSON object.", code="invalid_json")
        request = super().parse({**members, "model": found["model"]}, body, target)
        streamed = request.stream or found["verb"] == "streamRawPredict"
        return replace(request, members=members, stream=streamed, target=target)

    def counted(self, request: Request) -> dict[str, Any]:
        counted = super().counted(request)
        found = predicting(request.target.partition("?")[0])
        resource = found["resource"] if found else request.model
        # A text in one case and a list in the other can't be taken for each other.
        counted["model"] = [resource, counted["model"]] if "model" in counted else resource
        return counted


def predicting(path: str) -> re.Match[str] | None:
    """Return the parts of a path that asks a model of Anthropic's: `resource`, `model`, `verb`."""
    return _PATH.fullmatch(path)
