"""Which upstream a request goes to: the first, in the manifest's order, that can answer it."""

from collections.abc import Sequence

from llmcache_gateway.dialects import Dialect
from llmcache_gateway.errors import RequestError
from llmcache_gateway.upstreams.base import Upstream


def for_model(upstreams: Sequence[Upstream], dialect: Dialect, model: str) -> Upstream:
    """Return the first upstream that speaks a dialect and serves a model; RequestError(404) when none does."""
    for upstream in upstreams:
        if _speaks(upstream, dialect) and upstream.serves(model):
            return upstream
    speaking = [upstream.name for upstream in upstreams if _speaks(upstream, dialect) and not upstream.translates]
    why = f"of those that speak it ({', '.join(speaking)}) none lists the model" if speaking else "none speaks that API"
    raise RequestError(
        404,
        f"No upstream serves the model {model[:200]!r} at {dialect.path}: {why}.",
        code="model_not_found",
        param="model",
    )


def for_path(upstreams: Sequence[Upstream], kin: Dialect | None) -> Upstream:
    """Return the first upstream that speaks the API of a request without a model; the first of all when none does."""
    speaking = (upstream for upstream in upstreams if kin is not None and upstream.provider in kin.providers)
    return next(speaking, upstreams[0])


def _speaks(upstream: Upstream, dialect: Dialect) -> bool:
    if upstream.translates:
        return upstream.translates == dialect.name and "openai" in dialect.providers  # at nobody else's path
    return upstream.provider in dialect.providers
