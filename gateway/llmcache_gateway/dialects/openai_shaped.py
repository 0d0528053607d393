"""Providers that speak OpenAI's API: where each has it, and in what each differs.

Facts: the providers' API references and SDKs (groq 1.7, mistralai 3.7), November 2026.
"""

import re
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any, Final, Self

from llmcache_gateway.dialects.base import BodyDialect, Request


@dataclass(frozen=True, slots=True)
class Traits:
    """In what a provider differs from OpenAI.

    `ignored` are members of a request, besides OpenAI's, that don't change the answer. `asks_for_usage` is false where
    `stream_options` is refused or not needed; `gives_usage` says that streams carry the usage, unasked, where the
    answer ends. `padding` are members of a stream's chunks that hide its length, `indexed_calls` says that unstreamed
    tool calls have their number, too. `length` is the member that says how long embeddings are to be.
    """

    ignored: frozenset[str] = frozenset()
    asks_for_usage: bool = True
    gives_usage: bool = False
    padding: frozenset[str] = frozenset({"obfuscation"})
    indexed_calls: bool = False
    length: str = "dimensions"


OPENAI: Final = Traits()

TRAITS: Final[Mapping[str, Traits]] = {
    "openai": OPENAI,
    "deepseek": Traits(ignored=frozenset({"user_id"}), gives_usage=True),
    "openrouter": Traits(ignored=frozenset({"session_id", "trace"}), asks_for_usage=False, gives_usage=True),
    "mistral": Traits(
        asks_for_usage=False,
        gives_usage=True,
        padding=frozenset({"p"}),
        indexed_calls=True,
        length="output_dimension",
    ),
    "xai": Traits(gives_usage=True),
    "groq": OPENAI,
    "azure": OPENAI,
    "fireworks": Traits(ignored=frozenset({"prompt_cache_isolation_key"}), gives_usage=True),
}
"""One for each provider of this shape, by its name in the manifest."""

ROOTS: Final[Mapping[str, frozenset[str]]] = {
    "/v1": frozenset(TRAITS),
    "/openai/v1": frozenset({"azure", "groq"}),
    "/openai": frozenset({"azure"}),
    "/api/v1": frozenset({"openrouter"}),
    "/inference/v1": frozenset({"fireworks"}),
    "": frozenset({"deepseek"}),
}
"""What the paths of a client begin with, and whose client then asks: every SDK keeps the path of its own address."""

_SEARCHING: Final = re.compile(r":online$|^perplexity/|-search-(?:preview|api)|^(?:groq/)?compound\b")
"""Names of models that look into the web, whatever the request says."""

_PRESET: Final = "@preset/"
"""In the name of a model: settings and a system prompt that OpenRouter keeps, and that change when they are edited."""

_STILL_PLUGINS: Final = frozenset({"file-parser", "response-healing", "context-compression"})
"""OpenRouter's plugins that need nothing but the request."""


class OpenAIShaped(BodyDialect):
    """What dialects of OpenAI's API have in common: one object for each root, and in it one for each provider.

    `below` is the path below the root, `speakers` are the providers that have this API, `uncounted` the members of
    a request that never change the answer.
    """

    below: str
    speakers: frozenset[str]
    uncounted: frozenset[str] = frozenset()
    key_headers = ("openai-beta", "openai-organization", "openai-project")

    def __init__(self, root: str = "/v1") -> None:
        self.path = root + self.below
        self.providers = (ROOTS[root] | {"echo"}) & self.speakers
        self.traits = OPENAI
        self.ignored = self.uncounted
        self._by_provider: dict[str, Any] = {one: self._of(one) for one in self.providers & TRAITS.keys()}

    def parse(self, members: Any, body: bytes, target: str = "") -> Request:
        raise NotImplementedError  # each API has requests of its own

    def counted(self, request: Request) -> dict[str, Any]:
        raise NotImplementedError  # so has it members that count

    def for_provider(self, provider: str) -> Self:
        found: Self = self._by_provider.get(provider, self)
        return found

    def _of(self, provider: str) -> Self:
        one = copy(self)
        one.providers = frozenset({provider})
        one.traits = TRAITS[provider]
        one.ignored = self.uncounted | one.traits.ignored
        one._by_provider = {}
        return one


def looks_elsewhere(model: str, members: Mapping[str, Any]) -> Iterator[str]:
    """Yield why the answer to a request depends on more than the request, by what only some providers know."""
    if members.get("deferred"):
        yield "stateful"  # xAI: the answer is fetched later, once
    if _PRESET in model or members.get("preset"):
        yield "stateful"
    if _SEARCHING.search(model) or _searches(members):
        yield "hosted-tools"


def _searches(members: Mapping[str, Any]) -> bool:
    if members.get("web_search_options") is not None or members.get("data_sources"):
        return True  # OpenAI, Azure
    search = members.get("search_parameters")
    if search is not None and not (isinstance(search, dict) and search.get("mode") == "off"):
        return True  # xAI
    plugins = members.get("plugins")
    return isinstance(plugins, list) and any(map(_is_no_still_plugin, plugins))


def _is_no_still_plugin(plugin: Any) -> bool:
    return not isinstance(plugin, dict) or plugin.get("id") not in _STILL_PLUGINS
