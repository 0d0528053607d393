"""The evaluate command: runs labelled pairs through a configuration's embedder, threshold, guards and verifier."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llmcache_gateway.config import GatewayConfig, LLMCache, Problem, Semantic
from llmcache_gateway.errors import ConfigError
from llmcache_gateway.evaluate.measure import Judged
from llmcache_gateway.evaluate.pairs import Pair, read_pairs
from llmcache_gateway.evaluate.report import report, table
from llmcache_gateway.semantic.decide import Limits, least_similarity
from llmcache_gateway.semantic.embedders import Embedder, ModelFilesError, load_local, similarities
from llmcache_gateway.semantic.guards import rejected_by
from llmcache_gateway.semantic.verifier import Verifier

AT_ONCE: Final = 64
"""Pairs that are embedded together."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says. `most_wrong` is a share, `plot` a file."""

    pairs: Path
    as_json: bool
    plot: Path | None
    most_wrong: float | None


async def evaluate(config: LLMCache | GatewayConfig, options: Options) -> tuple[str, str | None]:
    """Return what the pairs come to, and what to complain of: more wrong answers than allowed, or None.

    ConfigError for pairs that can't be read, and for a configuration without a semantic cache.
    """
    semantic = config.spec.semantic
    if not semantic.enabled:
        raise ConfigError([Problem("spec.semantic.enabled", "is not true: there is nothing to evaluate; set it")])
    pairs = _read(options.pairs)
    embedder, verifier = _load(semantic)
    least = least_similarity(semantic.threshold, embedder.threshold, verified=verifier is not None)
    limits = Limits(least, semantic.guards, verifier.threshold if verifier is not None else None)
    told = report(await judge(pairs, embedder, verifier), limits, embedder.identity)
    if options.plot is not None:
        _plot(told, options.plot)
    text = json.dumps(told) if options.as_json else table(told)
    if options.most_wrong is None or told["wrong"] is None or told["wrong"] <= options.most_wrong:
        return text, None
    return text, f"wrong: {told['wrong']:.2%}, and --max-wrong allows {options.most_wrong:.2%}"


def _load(semantic: Semantic) -> tuple[Embedder, Verifier | None]:
    if semantic.embedding.upstream is not None:
        where = "spec.semantic.embedding.upstream"
        raise ConfigError([Problem(where, "an upstream's vectors can't be evaluated; name a model with local")])
    path = semantic.embedding.local.path if semantic.embedding.local is not None else None
    try:
        embedder = load_local(Path(path) if path is not None else None)
        return embedder, None if semantic.verifier == "none" else Verifier.load(size=semantic.verifier)
    except ModelFilesError as error:
        raise ConfigError([Problem("spec.semantic.embedding.local.path", str(error))]) from None


async def judge(pairs: Sequence[Pair], embedder: Embedder, verifier: Verifier | None) -> list[Judged]:
    """Everything that the configuration's parts say of each pair; every part is asked, whatever the others say."""
    judged: list[Judged] = []
    for start in range(0, len(pairs), AT_ONCE):
        chunk = pairs[start : start + AT_ONCE]
        first, second = (
            await embedder.embed([pair.a for pair in chunk]),
            await embedder.embed([pair.b for pair in chunk]),
        )
        for pair, similarity in zip(chunk, similarities(first, second), strict=True):
            equal = pair.a == pair.b
            score = None if verifier is None else 1.0 if equal else verifier.score(pair.a, pair.b)
            judged.append(Judged(pair.same, pair.kind, similarity, rejected_by(pair.a, pair.b), score))
    return judged


def _read(file: Path) -> list[Pair]:
    try:
        with file.open("rb") as lines:
            return read_pairs(lines, str(file))
    except OSError as error:
        raise ConfigError([f"{file}: can't be read: {error.strerror}"]) from None


def _plot(told: dict[str, Any], file: Path) -> None:
    try:
        from llmcache_gateway.evaluate.plot import plot
    except ImportError:
        raise ConfigError(["--plot: needs matplotlib; install the extra `plot`"]) from None
    try:
        plot(told, file)
    except OSError as error:
        raise ConfigError([f"{file}: can't be written: {error.strerror}"]) from None
