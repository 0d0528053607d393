"""Opens what a configuration judges with: its embedding model, here or at an upstream, and its verifier."""

import random
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp

from llmcache_gateway.config import Problem, Semantic
from llmcache_gateway.config import Upstream as UpstreamConfig
from llmcache_gateway.errors import ConfigError
from llmcache_gateway.evaluate.patience import PatientUpstream
from llmcache_gateway.secrets import Secrets
from llmcache_gateway.semantic.embedders import Embedder, ModelFilesError
from llmcache_gateway.semantic.provision import open_embedder
from llmcache_gateway.semantic.verifier import Verifier
from llmcache_gateway.upstreams.minted import Minted
from llmcache_gateway.upstreams.opening import open_upstream


@asynccontextmanager
async def embedder_of(
    semantic: Semantic, upstreams: list[UpstreamConfig], secrets_folder: Path | None, environment: Mapping[str, str]
) -> AsyncIterator[Embedder]:
    """Give the embedder for the length of the block; ConfigError when its model, or its credential, is none.

    Of the upstreams only the one that makes the vectors is opened: nobody needs the other ones' credentials for this.
    It is waited for where it asks for that, and stderr says so.
    """
    asked = [(at, one) for at, one in enumerate(upstreams) if one.name == semantic.embedding.upstream]
    if not asked:
        yield open_embedder(semantic.embedding, ())
        return
    at, config = asked[0]
    path, secrets = f"spec.upstreams[{at}]", Secrets(secrets_folder, environment)
    key = secrets.credential(config.credential, f"{path}.credential")
    if secrets.problems:
        raise ConfigError(secrets.problems)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        upstream = open_upstream(config, key, path=path, session=session, minted=Minted(time.time), clock=time.time)
        patient = PatientUpstream(upstream, partial(print, file=sys.stderr, flush=True), random=random.random)
        yield open_embedder(semantic.embedding, [patient])


def verifier_of(semantic: Semantic) -> Verifier | None:
    """Return the verifier, None where none is asked; ConfigError when its files can't be used."""
    try:
        return None if semantic.verifier == "none" else Verifier.load(size=semantic.verifier)
    except ModelFilesError as error:
        raise ConfigError([Problem("spec.semantic.verifier", str(error))]) from None
