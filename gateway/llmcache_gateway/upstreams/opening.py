"""Makes the upstream that a configuration names, of whatever kind its provider is."""

from collections.abc import Callable
from typing import Any

import aiohttp

from llmcache_gateway.config import Upstream as UpstreamConfig
from llmcache_gateway.config import seconds
from llmcache_gateway.upstreams.base import Upstream
from llmcache_gateway.upstreams.bedrock import open_bedrock
from llmcache_gateway.upstreams.echo import EchoUpstream
from llmcache_gateway.upstreams.http import HTTPUpstream
from llmcache_gateway.upstreams.minted import Minted


def open_upstream(
    config: UpstreamConfig,
    key: str | None,
    *,
    path: str,
    session: aiohttp.ClientSession,
    minted: Minted,
    clock: Callable[[], float],
) -> Upstream:
    """Return an upstream; nothing is connected yet. ConfigError, at its `path`, for a credential that is none.

    `key` is what its credential says, None where it has none of its own.
    """
    if config.provider == "echo":
        echo = config.echo
        return EchoUpstream(
            name=config.name,
            models=config.models,
            delay_seconds=seconds(echo.delay) if echo else 0.0,
            chunk_delay_seconds=seconds(echo.chunk_delay) if echo else 0.0,
            timeout_seconds=seconds(config.timeout),
            clock=clock,
        )
    options: dict[str, Any] = {
        "name": config.name,
        "provider": config.provider,
        "base_url": config.base_url or "",
        "models": config.models,
        "credential": key,
        "passthrough": config.credential is not None and config.credential.passthrough,
        "timeout_seconds": seconds(config.timeout),
        "session": session,
    }
    if config.credential is not None and config.credential.makes_google_tokens:
        options |= {"credential": None, "signer": minted.google(key, f"{path}.credential")}
    if config.provider == "bedrock":
        return open_bedrock(path=path, region=config.signing_region, signs=config.credential is None, **options)
    return HTTPUpstream(**options)
