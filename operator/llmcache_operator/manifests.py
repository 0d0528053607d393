"""Reads LLMCache manifests, from a file or from the API, and finds what can't work inside a cluster."""

from collections.abc import Iterator
from typing import Any

from llmcache_gateway.config import ConfigError, LLMCache, Problem, load_yaml, parse
from llmcache_operator.specs import refusals


def read(document: dict[str, Any]) -> LLMCache:
    """Return an object of kind LLMCache as a typed manifest; ConfigError with every problem found."""
    manifest = parse(document)
    if not isinstance(manifest, LLMCache):
        raise ConfigError([Problem("kind", f"expected LLMCache, not {document.get('kind')}")])
    found = list(_out_of_place(manifest))
    if found:
        raise ConfigError(found)
    return manifest


def read_file(text: str) -> list[LLMCache]:
    """Return every LLMCache of a YAML text; ConfigError with every problem of all of them."""
    documents = [d for d in load_yaml(text) if isinstance(d, dict) and d.get("kind") == "LLMCache"]
    if not documents:
        raise ConfigError([Problem("kind", "expected at least one document of kind LLMCache; found none")])
    manifests, problems = [], []
    for document in documents:
        try:
            manifests.append(read(document))
        except ConfigError as error:
            of = f"{_name(document)}: " if len(documents) > 1 else ""
            problems += [Problem(f"{of}{problem.path}", problem.message) for problem in error.problems]
    if problems:
        raise ConfigError(problems)
    return manifests


def _out_of_place(manifest: LLMCache) -> Iterator[Problem]:
    template = manifest.spec.gateway.pod_template
    if template is not None:
        for refusal in refusals(template.spec):
            yield Problem(f"spec.gateway.podTemplate.spec{refusal.path}", refusal.message)
    for index, upstream in enumerate(manifest.spec.upstreams):
        credential = upstream.credential
        for source in ("env", "file"):
            if credential is not None and getattr(credential, source) is not None:
                path = f"spec.upstreams[{index}].credential.{source}"
                advice = "has no effect in a gateway that an operator runs: put the key into a Secret and name it "
                yield Problem(path, f"{advice}in secretRef: {{name, key}}")


def _name(document: dict[str, Any]) -> str:
    metadata = document.get("metadata")
    return str(metadata.get("name", "?")) if isinstance(metadata, dict) else "?"
