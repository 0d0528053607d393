"""The least that an operator can be: kopf, in its own manner, with a handler that does nothing."""

from typing import Any

import kopf


@kopf.on.create("llmcache.dev", "v1alpha1", "llmcaches")
@kopf.on.update("llmcache.dev", "v1alpha1", "llmcaches")
@kopf.on.resume("llmcache.dev", "v1alpha1", "llmcaches")
async def nothing(**_: Any) -> None:
    """Do nothing; kopf notes on the object that it was done."""
