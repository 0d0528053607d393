"""Amazon Bedrock as an upstream. Nothing here needs botocore until one is opened."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from multidict import CIMultiDict

from llmcache_gateway.config import Problem
from llmcache_gateway.dialects.frames import FRAMES_TYPE
from llmcache_gateway.errors import ConfigError, RequestError
from llmcache_gateway.headers import is_signed
from llmcache_gateway.sse import CONTENT_TYPE
from llmcache_gateway.upstreams.base import Answer, Call
from llmcache_gateway.upstreams.http import HTTPUpstream


class BedrockUpstream(HTTPUpstream):
    """An endpoint of bedrock-runtime, whose binary streams come as event blocks, as those of all others do."""

    def __init__(self, *, events_of: Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]], **options: Any) -> None:
        super().__init__(**options)
        self._events_of = events_of

    @asynccontextmanager
    async def send(self, call: Call) -> AsyncIterator[Answer]:
        if self.passthrough and is_signed(call.headers):
            message = (
                f"This request is signed for AWS (SigV4), and upstream {self.name!r} is asked with each client's own "
                "credential: a signature holds for one host only, so it can't be sent on. Send a Bedrock API key as "
                "bearer token (AWS_BEARER_TOKEN_BEDROCK), or let the gateway sign: remove the upstream's credential."
            )
            raise RequestError(403, message, code="signature_not_sent_on")
        async with super().send(call) as answer:
            if call.decoded and answer.status == 200 and answer.content_type == FRAMES_TYPE:
                headers = CIMultiDict(answer.headers)
                headers["Content-Type"] = CONTENT_TYPE
                answer = Answer(answer.status, headers, self._events_of(answer.chunks))
            yield answer


def open_bedrock(*, path: str, region: str | None, signs: bool, **options: Any) -> BedrockUpstream:
    """Return an upstream; ConfigError where botocore, an extra, is not installed.

    `signs` says that the gateway signs requests itself, for `region`.
    """
    try:
        from llmcache_gateway.upstreams.aws import SigV4Signer, events_of
    except ModuleNotFoundError as error:
        if error.name != "botocore":
            raise
        message = "provider bedrock needs the package botocore: install llmcache-operator[gateway,bedrock]"
        raise ConfigError([Problem(f"{path}.provider", message)]) from None
    signer = None
    if signs:
        if region is None:  # the manifest's rules refuse this; a hand-written GatewayConfig may still say so
            raise ConfigError([Problem(f"{path}.region", "the address names no region to sign for: set region")])
        signer = SigV4Signer(region)
    return BedrockUpstream(events_of=events_of, signer=signer, **options)
