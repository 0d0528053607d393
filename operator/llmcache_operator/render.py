"""`llmcache-operator render`: what the operator would apply, without a cluster."""

import base64
from typing import Any

from llmcache_gateway.config import LLMCache
from llmcache_operator import specs
from llmcache_operator.manifests import read_file
from llmcache_operator.yamltext import documents

PLACEHOLDER = "(generated once by the operator)"


def render(text: str, images: specs.Images) -> str:
    """Return every object for every LLMCache of a YAML text; ConfigError when the text can't be used."""
    objects = [child for manifest in read_file(text) for child in _children(manifest, images)]
    return documents(objects)


def _children(manifest: LLMCache, images: specs.Images) -> list[specs.Object]:
    identity = specs.Identity(manifest.metadata.name, manifest.metadata.namespace)
    values = specs.Generated(
        admin_token=PLACEHOLDER, tenant_key=PLACEHOLDER, redis_password=PLACEHOLDER, redis_admin_password=PLACEHOLDER
    )
    return [_legible(child) for child in specs.children(manifest, identity, images, values)]


def _legible(child: specs.Object) -> dict[str, Any]:
    if child["kind"] != "Secret":
        return child
    texts = {key: base64.b64decode(value).decode() for key, value in child["data"].items()}
    # The hash of a placeholder would look like one of a password.
    texts = {key: value if value == PLACEHOLDER else PLACEHOLDER for key, value in texts.items()}
    return {key: value for key, value in child.items() if key != "data"} | {"stringData": texts}
