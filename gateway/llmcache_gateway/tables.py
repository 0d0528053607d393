"""Tables of what is known of providers and models: rows in YAML, of which the first that matches holds."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Protocol, TypeVar

import msgspec

from llmcache_gateway.config import Model, Problem, load_yaml, problems
from llmcache_gateway.errors import ConfigError


class Row(Protocol):
    """A row of a table: of which providers, without any of all, and of which models it speaks."""

    @property
    def providers(self) -> list[str]:
        """Kinds of provider."""

    @property
    def models(self) -> list[str]:
        """Patterns of model names."""


AnyRow = TypeVar("AnyRow", bound=Row)
Table = TypeVar("Table", bound=Model)


def plain(model: str) -> str:
    """Return a model's name as rows are matched: providers write one version as 4.5 and as 4-5."""
    return model.lower().replace(".", "-")


def matches(row: Row, provider: str, name: str) -> bool:
    """Say whether a row speaks of a model, whose plain name this is, at a kind of provider."""
    of_provider = not row.providers or provider in row.providers
    return of_provider and any(fnmatchcase(name, plain(pattern)) for pattern in row.models)


def first_match(rows: Iterable[AnyRow], provider: str, name: str) -> AnyRow | None:
    """Return the first row that speaks of a model; None when none does."""
    return next((row for row in rows if matches(row, provider, name)), None)


def read_table(text: str, file: str, table: type[Table]) -> Table:
    """Return a table in YAML; ConfigError with every problem found."""
    documents = load_yaml(text)
    if len(documents) != 1:
        raise ConfigError([Problem(file, f"expected one document with rows, found {len(documents)}")])
    found = list(problems(documents[0], table))
    if found:
        raise ConfigError([Problem(f"{file}: {problem.path}", problem.message) for problem in found])
    return msgspec.convert(documents[0], table)
