"""Azure OpenAI's paths that name a deployment: `/openai/deployments/DEPLOYMENT/chat/completions?api-version=…`.

Format: Azure OpenAI's REST reference and OpenAI's SDK (`AzureOpenAI`). The deployment stands for the model; what the
body names as one, Azure does not read. Everything else is OpenAI's. Newer clients ask below `/openai/v1` instead.
"""

import re
from typing import Any, Final

from msgspec.structs import replace

from llmcache_gateway.dialects.base import Dialect, Request
from llmcache_gateway.dialects.openai_chat import OpenAIChat
from llmcache_gateway.dialects.openai_completions import OpenAICompletions
from llmcache_gateway.dialects.openai_embeddings import OpenAIEmbeddings
from llmcache_gateway.dialects.openai_responses import OpenAIResponses
from llmcache_gateway.dialects.openai_shaped import OpenAIShaped
from llmcache_gateway.errors import RequestError

_PATH: Final = re.compile(r"/openai/deployments/(?P<deployment>[A-Za-z0-9._-]{1,128})(?P<below>/[a-z/]+)")


AZURES: Final = "/openai"
"""What Azure's older paths begin with."""


class AzureResponses(OpenAIResponses):
    """Responses at Azure's older path, whose entries are not those of `/openai/v1/responses`."""

    def __init__(self) -> None:
        super().__init__(AZURES)

    def counted(self, request: Request) -> dict[str, Any]:
        return super().counted(request) | {"model": [request.model]}


class _Deployed(OpenAIShaped):
    """What the dialects of a deployment add to OpenAI's own."""

    def __init__(self) -> None:
        super().__init__(AZURES)
        for one in (self, *self._by_provider.values()):
            one.path = f"/openai/deployments/DEPLOYMENT{self.below}"

    def parse(self, members: Any, body: bytes, target: str = "") -> Request:
        found = _PATH.fullmatch(target.partition("?")[0])
        if found is None:
            raise RequestError(400, f"{target[:80]!r} is none of {self.path}.", code="invalid_path")
        if not isinstance(members, dict):
            raise RequestError(400, "The body must be a JSON object.", code="invalid_json")
        request = super().parse({**members, "model": found["deployment"]}, body, target)
        return replace(request, members=members)

    def counted(self, request: Request) -> dict[str, Any]:
        counted = super().counted(request)
        # A text in one case and a list in the other can't be taken for each other.
        counted["model"] = [request.model, counted["model"]] if "model" in counted else request.model
        return counted


class DeployedChat(_Deployed, OpenAIChat):
    """Chat completions of a deployment."""


class DeployedCompletions(_Deployed, OpenAICompletions):
    """Completions of a deployment."""


class DeployedEmbeddings(_Deployed, OpenAIEmbeddings):
    """Embeddings of a deployment."""


_BELOW: Final[dict[str, Dialect]] = {
    one.below: one for one in (DeployedChat(), DeployedCompletions(), DeployedEmbeddings())
}


def deployed(path: str) -> Dialect | None:
    """Return the dialect of a path that names a deployment; None when it is none that is cached."""
    found = _PATH.fullmatch(path)
    return None if found is None else _BELOW.get(found["below"])
