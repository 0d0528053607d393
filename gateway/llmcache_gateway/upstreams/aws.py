"""AWS's wire format: requests signed with the gateway's own credentials, and binary streams read.

The one module that imports botocore; without the extra `bedrock` it can't be imported.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Final

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.eventstream import EventStreamBuffer, ParserError
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from llmcache_gateway.dialects.frames import block_of
from llmcache_gateway.errors import UpstreamError
from llmcache_gateway.sse import END_OF_EVENT

SERVICE: Final = "bedrock"

_ADDED: Final = ("Authorization", "X-Amz-Date", "X-Amz-Security-Token")
_SIGNED: Final = ("content-type", "x-amz")
"""What headers begin with that are signed: not those that a proxy may change on the way."""


class SigV4Signer:
    """Signs requests for a region with what AWS's own programs would find: environment, web identity, container, …

    Credentials that end are renewed before they do. They are asked for by the first request, not before.
    """

    reads_body = True

    def __init__(self, region: str) -> None:
        self._region = region
        self._session = Session()
        self._looking: asyncio.Task[ReadOnlyCredentials] | None = None

    async def sign(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """Return the headers to add to a request; UpstreamError when there are no credentials."""
        # Both may take long: to find credentials, and to make a digest of a large body.
        credentials = await self._current()
        return await asyncio.to_thread(self._sign, credentials, method, url, headers, body)

    async def _current(self) -> ReadOnlyCredentials:
        """Return the credentials. They are looked for once for all who ask meanwhile, in one thread: a session is for
        one at a time, and where none can be had each look takes seconds."""
        if self._looking is None:
            self._looking = asyncio.create_task(asyncio.to_thread(self._found))
            self._looking.add_done_callback(self._looked)
        return await asyncio.shield(self._looking)

    def _looked(self, task: "asyncio.Task[ReadOnlyCredentials]") -> None:
        self._looking = None
        if not task.cancelled():
            task.exception()  # those who asked may be gone

    def _sign(
        self, credentials: ReadOnlyCredentials, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> dict[str, str]:
        signed = {name: value for name, value in headers.items() if name.lower().startswith(_SIGNED)}
        request = AWSRequest(method=method, url=url, headers=signed, data=body)
        SigV4Auth(credentials, SERVICE, self._region).add_auth(request)
        return {name: request.headers[name] for name in _ADDED if name in request.headers}

    def _found(self) -> ReadOnlyCredentials:
        try:
            found = self._session.get_credentials()
            if found is not None:
                return found.get_frozen_credentials()
        except (BotoCoreError, ClientError, OSError) as error:
            raise UpstreamError(f"the gateway's AWS credentials can't be had: {error}") from None
        raise UpstreamError(
            "the gateway has no AWS credentials to sign with: give its pod a role (IRSA, EKS Pod Identity) or set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the upstream a credential"
        )


async def events_of(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield a binary stream as event blocks; UpstreamError where it is damaged."""
    buffer = EventStreamBuffer()
    async for chunk in chunks:
        buffer.add_data(chunk)
        blocks = bytearray()
        try:
            for message in buffer:
                blocks += block_of(message.headers, message.payload) + END_OF_EVENT
        except (ParserError, ValueError) as error:
            if blocks:
                yield bytes(blocks)
            raise UpstreamError(f"a message of the stream can't be read: {error}") from None
        if blocks:
            yield bytes(blocks)
