"""Requests that are not on the wire, only asked about: to be explained, or to have their entries taken back."""

from typing import Any, cast

from llmcache_gateway.dialects import dialect_of
from llmcache_gateway.errors import RequestError
from llmcache_gateway.exchange import Exchange, Question
from llmcache_gateway.headers import Headers
from llmcache_gateway.heads import Head
from llmcache_gateway.key import stored_key
from llmcache_gateway.parts import splitting
from llmcache_gateway.runtime import Runtime
from llmcache_gateway.server import UNKNOWN_PATH, Handler


class About:
    """Reads such requests as the request path would."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def read(
        self, runtime: Runtime, target: str, headers: Headers, body: bytes, tenant: str | None
    ) -> tuple[Exchange, Question]:
        """Return a request as if it had come; RequestError where it would be refused.

        `tenant` is taken instead of what the headers say.
        """
        dialect = dialect_of("POST", target.partition("?")[0])
        if dialect is None:
            message = f"nothing is cached for {target[:80]!r}: send a path such as /v1/chat/completions"
            raise RequestError(400, message, code=UNKNOWN_PATH)
        no_wire = cast(Any, None)
        exchange = Exchange(no_wire, Head("POST", target, headers), runtime, runtime.prefix.active, 0.0, dialect)
        self._handler.read_named(exchange)
        found = self._handler.tenant_of(exchange) if tenant is None else tenant
        question = self._handler.question(exchange, dialect, found, body)
        exchange.tenant = tenant or exchange.tenant
        return exchange, question

    async def keys_of(
        self, runtime: Runtime, target: str, headers: Headers, body: bytes, tenant: str | None
    ) -> list[str]:
        """Return the keys under which the answer to a request stands: its own, and those of its parts, of each version.

        `tenant` is taken instead of what the headers say. RequestError where the request can't be read.
        """
        exchange, question = self.read(runtime, target, headers, body, tenant)
        splits = splitting(question.dialect)
        parts = splits.split(question.request) if splits is not None else None
        requests = [question.request, *(parts or ())]
        # The default one too: where the hook that makes another failed, it stands under that.
        digests = dict.fromkeys(self._handler.digest_of(exchange, question, request) for request in requests)
        digests[(await self._handler.key_of(exchange, question)).rpartition(":")[2]] = None
        name, of = runtime.prefix.name, exchange.tenant or ""
        return [stored_key(name, version, of, one) for version in runtime.prefix.versions for one in digests]
