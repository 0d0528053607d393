"""The evaluate command: runs labelled pairs through a configuration's embedder, threshold, guards and verifier."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from llmcache_gateway.config import GatewayConfig, LLMCache, Problem, Semantic
from llmcache_gateway.errors import ConfigError, EmbeddingError
from llmcache_gateway.evaluate.measure import Judged
from llmcache_gateway.evaluate.models import embedder_of, verifier_of
from llmcache_gateway.evaluate.pairs import Pair, read_pairs
from llmcache_gateway.evaluate.report import Configured, report, table
from llmcache_gateway.evaluate.settings import chosen
from llmcache_gateway.semantic.decide import Limits, asked_the_same, least_similarity
from llmcache_gateway.semantic.embedders import Embedder
from llmcache_gateway.semantic.embeddings import MAX_CALLS, MAX_TOGETHER, Embeddings
from llmcache_gateway.semantic.facts import Facts
from llmcache_gateway.semantic.guards import differences_of
from llmcache_gateway.semantic.suitability import unsuitable
from llmcache_gateway.semantic.upstream_embedder import UpstreamEmbedder
from llmcache_gateway.semantic.verifier import Verifier

AT_ONCE: Final = MAX_TOGETHER * MAX_CALLS // 2
"""Pairs whose vectors are asked for together: as many texts as the embedding model is ever asked for at a time."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says. `most_wrong` is a share, `plot` a file; no `policy` is what holds outside of them."""

    pairs: Path
    as_json: bool
    plot: Path | None
    most_wrong: float | None
    policy: str | None
    secrets: Path | None
    environment: Mapping[str, str]


async def evaluate(config: LLMCache | GatewayConfig, options: Options) -> tuple[str, str | None]:
    """Return what the pairs come to, and what to complain of: more wrong answers than allowed, or None.

    ConfigError for pairs that can't be read, for a configuration without a semantic cache, and for an embedding model
    that makes no vectors of them.
    """
    spec = config.spec
    semantic = chosen(spec.semantic, spec.policies, options.policy)
    pairs = _read(options.pairs)
    if options.most_wrong is not None and all(pair.same for pair in pairs):
        message = (
            f"no pair in {options.pairs} is different, so none could be answered wrongly: add some, or leave it out"
        )
        raise ConfigError([Problem("--max-wrong", message)])
    plot = _plotter() if options.plot is not None else None  # before anything is paid for
    verifier = verifier_of(semantic)
    async with embedder_of(semantic, spec.upstreams, options.secrets, options.environment) as embedder:
        judged = await judge(pairs, embedder, verifier, guards=semantic.guards)
    least = least_similarity(semantic.threshold, embedder.threshold, verified=verifier is not None)
    limits = Limits(least, semantic.guards, verifier.threshold if verifier is not None else None)
    left_out = Counter(why for pair in pairs if (why := _left_out(pair, semantic)) is not None)
    asked = None
    if isinstance(embedder, UpstreamEmbedder):
        asked = {"upstream": semantic.embedding.upstream, **asdict(embedder.asked)}
    told = report(judged, Configured(options.policy, limits, semantic.verifier, embedder.identity, left_out, asked))
    if plot is not None and options.plot is not None:
        _draw(plot, told, options.plot)
    text = json.dumps(told) if options.as_json else table(told)
    if options.most_wrong is None or told["wrong"] <= options.most_wrong:
        return text, None
    return text, f"wrong: {told['wrong']:.2%}, and --max-wrong allows {options.most_wrong:.2%}"


async def judge(pairs: Sequence[Pair], embedder: Embedder, verifier: Verifier | None, *, guards: bool) -> list[Judged]:
    """Everything that the configuration's parts say of each pair; every part is asked, whatever the others say.

    ConfigError when the embedding model gives no vectors.
    """
    judged: list[Judged] = []
    embeddings = Embeddings(embedder)
    try:
        for start in range(0, len(pairs), AT_ONCE):
            chunk = pairs[start : start + AT_ONCE]
            vectors = await asyncio.gather(*(embeddings.vector(text) for pair in chunk for text in (pair.a, pair.b)))
            for pair, first, second in zip(chunk, vectors[::2], vectors[1::2], strict=True):
                asked, stored = Facts(pair.a), Facts(pair.b)
                found = differences_of(asked, stored)
                if verifier is None:
                    score = None
                else:
                    score = 1.0 if asked_the_same(pair.a, pair.b) else verifier.scores(asked, [stored])[0]
                firm = found.refusing(verified=verifier is not None)
                guard = firm or found.refusing(verified=False)
                similarity = float(first @ second)
                judged.append(Judged(pair.line, pair.same, pair.kind, similarity, guard, firm is not None, score))
    except EmbeddingError as error:
        said = f": {error.said}" if error.said else ""
        raise ConfigError([Problem("spec.semantic.embedding", f"{error}{said}")]) from None
    finally:
        await embeddings.close()
    return judged


def _left_out(pair: Pair, semantic: Semantic) -> str | None:
    """Return why the gateway would look for nothing like one of the two questions; None where it would."""
    return unsuitable(pair.a, semantic) or unsuitable(pair.b, semantic)


def _read(file: Path) -> list[Pair]:
    try:
        with file.open("rb") as lines:
            return read_pairs(lines, str(file))
    except OSError as error:
        raise ConfigError([f"{file}: can't be read: {error.strerror}"]) from None


def _plotter() -> Callable[[dict[str, Any], Path], None]:
    try:
        from llmcache_gateway.evaluate.plot import plot
    except ImportError:
        raise ConfigError(["--plot: needs matplotlib; install the extra `plot`"]) from None
    return plot


def _draw(plot: Callable[[dict[str, Any], Path], None], told: dict[str, Any], file: Path) -> None:
    try:
        plot(told, file)
    except OSError as error:
        raise ConfigError([f"{file}: can't be written: {error.strerror}"]) from None
