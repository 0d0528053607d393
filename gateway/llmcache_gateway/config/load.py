"""Reads a manifest or a gateway configuration from YAML text."""

from collections.abc import Hashable
from typing import Any

import msgspec
import yaml

from llmcache_gateway.config.gateway import GatewayConfig
from llmcache_gateway.config.manifest import LLMCache
from llmcache_gateway.config.model import API_VERSION
from llmcache_gateway.config.validate import Problem, problems
from llmcache_gateway.errors import ConfigError

KINDS: dict[str, type[LLMCache | GatewayConfig]] = {"LLMCache": LLMCache, "GatewayConfig": GatewayConfig}


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which also refuses a key that stands twice in one mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            # A merge key (<<) may stand beside others and may repeat what it brings: YAML's own rule.
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a plain value", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def load_yaml(text: str) -> list[Any]:
    """Return the documents of a YAML text, empty ones left out; ConfigError when it is no YAML."""
    try:
        # _Loader derives from SafeLoader: it builds plain data only.
        return [document for document in yaml.load_all(text, Loader=_Loader) if document is not None]
    except yaml.YAMLError as error:
        raise ConfigError([_unreadable(error)]) from None
    except RecursionError:
        raise ConfigError([Problem("(document)", "nested too deeply")]) from None


def load_config(text: str) -> LLMCache | GatewayConfig:
    """Return the one LLMCache or GatewayConfig of a YAML text; ConfigError with every problem found.

    Other kinds in the same file (a Secret beside the LLMCache, say) are left to kubectl.
    """
    documents = load_yaml(text)
    ours = [document for document in documents if isinstance(document, dict) and document.get("kind") in KINDS]
    if len(ours) != 1:
        found = [
            str(document.get("kind") or "no kind") if isinstance(document, dict) else "no mapping"
            for document in documents
        ]
        what = f"found {len(ours)} of them" if ours else f"found: {', '.join(found) or 'nothing'}"
        raise ConfigError([Problem("kind", f"expected one document of kind LLMCache or GatewayConfig; {what}")])
    return parse(ours[0])


def parse(document: dict[str, Any]) -> LLMCache | GatewayConfig:
    """Return plain data as a typed configuration; ConfigError with every problem found."""
    kind = KINDS[document["kind"]]
    if document.get("apiVersion") != API_VERSION:
        raise ConfigError([Problem("apiVersion", f"expected {API_VERSION}, not {document.get('apiVersion')!r}")])
    found = list(problems(document, kind))
    if found:
        raise ConfigError(found)
    return msgspec.convert(document, kind)


def _unreadable(error: yaml.YAMLError) -> Problem:
    """Say in one line where the text stops being YAML, and why."""
    where, what = "(document)", str(error)
    if isinstance(error, yaml.MarkedYAMLError):
        if mark := error.problem_mark or error.context_mark:
            where = f"line {mark.line + 1}, column {mark.column + 1}"
        what = ", ".join(part for part in (error.context, error.problem) if part)
    return Problem(where, f"not readable as YAML: {' '.join(what.split())}")
