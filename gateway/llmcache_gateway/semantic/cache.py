"""The semantic cache: asks for a question's vector and its neighbours, decides, and takes new questions in."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from llmcache_gateway.background import Background
from llmcache_gateway.config import Semantic, seconds
from llmcache_gateway.entry import Entry
from llmcache_gateway.errors import EmbeddingError
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.semantic.aliases import Aliases
from llmcache_gateway.semantic.answers import ANSWERS_ALIKE, MOST_CHARACTERS, MOST_GUARDED, is_legible, say_the_same
from llmcache_gateway.semantic.budget import NOTHING
from llmcache_gateway.semantic.decide import Candidate, Limits, decide, least_similarity
from llmcache_gateway.semantic.embedders import Embedder
from llmcache_gateway.semantic.embeddings import Embeddings
from llmcache_gateway.semantic.facts import Facts
from llmcache_gateway.semantic.guards import rejected_by
from llmcache_gateway.semantic.indexes.base import Index, Neighbour, Point, Vector
from llmcache_gateway.semantic.judge import ALIAS, Verdict
from llmcache_gateway.semantic.suitability import Asked
from llmcache_gateway.stores.base import Found
from llmcache_gateway.stores.breaker import State
from llmcache_gateway.stores.circuit import Circuit, Op
from llmcache_gateway.stores.guarded import GuardedStore
from llmcache_gateway.stores.labels import LabelKeeper

log = logging.getLogger(__name__)

MAX_PENDING: Final = 1000
"""Most questions that wait to be taken in. Beyond it one is not: a slow service must not fill the memory."""

REMEMBER_SECONDS: Final = 30.0
"""Longest that taking a question in may take."""


class Verifier(Protocol):
    """A learned judge of question pairs."""

    threshold: float
    """Least score of a pair that is one."""

    identity: str
    """What tells it from one that scores otherwise."""

    def scores(self, asked: Facts, stored: Sequence[Facts]) -> Sequence[float]:
        """Return, of a question and stored ones, how likely each is the same."""


@dataclass(frozen=True, slots=True)
class Match:
    """What came of looking for a question. `why` is a stable word: "served", "alias", or what kept the nearest away.

    `similarity` is that one's, 0 where there is none. `found` is set when it was served: the entry under `key`. `grey`
    is the stored question that a judge may find to be the same.
    """

    why: str
    similarity: float = 0.0
    key: str = ""
    found: Found | None = None
    grey: Neighbour | None = None


class SemanticCache:
    """Finds an entry by what its question means. It never fails, and takes no longer than its deadline."""

    def __init__(
        self,
        embedder: Embedder,
        index: Index,
        store: GuardedStore,
        metrics: Metrics,
        clock: Callable[[], float],
        labels: LabelKeeper | None = None,
    ) -> None:
        self._embedder = embedder
        self._embeddings = Embeddings(embedder)
        self._answers = Embeddings(embedder, remembered=0)  # they can be long, and are not compared again
        self._index = index
        self._store = store
        self._metrics = metrics
        self.aliases = Aliases(store, clock)
        self.labels = labels
        """Where what sampled hits have told is kept for all replicas; None where each is by itself."""

        self.verifiers: dict[str, Verifier] = {}
        """By size: all that the settings name, but for `none`."""

        self._embedding = Circuit("embedding", "embed", metrics)
        self._comparing = asyncio.Lock()
        self._searching = Circuit(index.name, "search", metrics)
        self._background = Background()

    @property
    def circuits(self) -> dict[tuple[str, Op], State]:
        """The state of each circuit, by what it is of and what that is asked for."""
        return {("embedding", "embed"): self._embedding.state, (self._index.name, "search"): self._searching.state}

    @property
    def identity(self) -> str:
        """Identity of the embedding model."""
        return self._embedder.identity

    def judged_by(self, semantic: Semantic) -> str:
        """Return the identity of what decides by these settings: of hits by another, samples say nothing."""
        verifier = "none" if semantic.verifier == "none" else self.verifiers[semantic.verifier].identity
        return f"{self.identity} {verifier} {'guards' if semantic.guards else 'no guards'}"

    def begin(self) -> None:
        """Begin to read what is kept already."""
        self._index.begin()

    async def close(self) -> None:
        await self._background.close()
        await self._embeddings.close()
        await self._answers.close()
        await self._index.close()

    async def look_up(
        self, asked: Asked, key: str, semantic: Semantic, usable: Callable[[Entry], bool], least: float = 0.0
    ) -> Match:
        """Return the entry of a question that means the same, if there is one that is `usable`.

        `key` is that of the request itself; only entries of its prefix, version and tenant are looked at. `least` is
        the least similarity that the error budget allows, NOTHING where it allows none.
        """
        self._index.begin()
        if least == NOTHING:
            return Match("budget")
        neighbours: list[Neighbour] = []
        waits_for: Circuit | None = None
        try:
            async with asyncio.timeout(seconds(semantic.deadline)):
                named = None if semantic.judge is None else await self.aliases.find(asked, key, usable)
                if named is not None:
                    return Match(ALIAS, named.similarity, named.key, named.found)
                waits_for = self._embedding
                vector = await self._vector(asked.text)
                if vector is None:
                    return Match("no-embedding")
                if not vector.any():
                    return Match(
                        "no-vector"
                    )  # the model sees nothing in it: it is as near to all that it sees nothing in
                waits_for = self._searching
                found = await self._nearest(asked.scope, vector, semantic.candidates)
                if found is None:
                    return Match("no-index")
                own = key.rpartition(":")[0]
                neighbours = [one for one in found if one.key.rpartition(":")[0] == own]
                return await self._decide(asked, neighbours, semantic, usable, least)
        except TimeoutError as late:
            if not neighbours and waits_for is not None:
                waits_for.failed(late)  # who is always too slow is as good as away
            return Match("deadline", neighbours[0].similarity if neighbours else 0.0)

    def remember_soon(self, asked: Asked, key: str, entry: Entry, admitted: Callable[[], str | None]) -> None:
        """Begin to take a question in, whose answer is stored; `admitted` says why it must not be, or None."""
        if len(self._background) >= MAX_PENDING:
            self._metrics.semantic_skipped.labels("too-many").inc()
        else:
            self._background.begin(self._remember(asked, key, entry, admitted))

    async def compared(
        self, stored: str | None, fresh: str | None, semantic: Semantic, *, guarded: bool = False
    ) -> Verdict:
        """Say whether two answers are one: equal but for their writing, or alike.

        `guarded`, what a guard holds apart is not: one answer may be given in words that another does not use, but for
        ever is too long for one that differs in a number.
        """
        if stored is None or fresh is None or max(len(stored), len(fresh)) > MOST_CHARACTERS:
            return "unknown"
        # In a thread, as below: long texts are read for so long that requests would wait.
        if await asyncio.to_thread(say_the_same, stored, fresh):
            return "same"
        if guarded:
            if max(len(stored), len(fresh)) > MOST_GUARDED:
                return "unknown"
            if await asyncio.to_thread(rejected_by, fresh, stored) is not None:
                return "different"
        if not (is_legible(stored, semantic) and is_legible(fresh, semantic)):
            return "unknown"
        alike = await self._similarity(stored, fresh)
        return "unknown" if alike is None else "same" if alike >= ANSWERS_ALIKE else "different"

    async def forget(self, keys: Sequence[str]) -> None:
        """Remove the questions of these keys; StoreError when that can't be done."""
        await self._index.remove(keys)

    async def _similarity(self, one: str, other: str) -> float | None:
        """Return the cosine of two answers; None when their vectors are not to be had.

        Questions, which clients wait for, never suffer from it: two at a time are compared, in a call of their own, and
        that a model does not take one, as too long say, is no reason to ask it for no question.
        """
        if not self._embedding.closed:
            return None
        try:
            async with self._comparing:
                first, second = await asyncio.gather(*map(self._answers.vector, (one, other)))
        except EmbeddingError as error:
            self._embedding.count()
            log.info("two answers can't be compared: %s", error)
            return None
        return float(first @ second) if first.any() and second.any() else None

    async def _vector(self, text: str) -> Vector | None:
        """Return a text's vector; None when there is none to be had, which is counted."""
        if not self._embedding.closed and not self._embedding.wants_probe():
            return None
        try:
            vector = await self._embeddings.vector(text)
        except EmbeddingError as error:
            self._embedding.failed(error)
            return None
        except asyncio.CancelledError:
            self._embedding.given_up()
            raise
        self._embedding.worked()
        return vector

    async def _nearest(self, scope: str, vector: Vector, count: int) -> list[Neighbour] | None:
        if not self._searching.closed and not self._searching.wants_probe():
            return None
        try:
            found = await self._index.nearest(scope, vector, count)
        except asyncio.CancelledError:
            self._searching.given_up()
            raise
        except Exception as error:  # a server's client makes errors that no list foresees
            self._searching.failed(error)
            return None
        self._searching.worked()
        return found

    async def _decide(
        self,
        asked: Asked,
        neighbours: list[Neighbour],
        semantic: Semantic,
        usable: Callable[[Entry], bool],
        allowed: float,
    ) -> Match:
        """Return the best of the neighbours whose entry can still be served."""
        verifier = None if semantic.verifier == "none" else self.verifiers[semantic.verifier]
        least = least_similarity(semantic.threshold, self._embedder.threshold, verified=verifier is not None)
        limits = Limits(
            max(least, allowed),
            semantic.guards,
            verifier.threshold if verifier is not None else None,
            semantic.judge.least_score if semantic.judge is not None else None,
        )
        left = list(neighbours)
        unusable: Match | None = None
        while True:
            candidates = [Candidate(one.text, one.similarity) for one in left]
            if verifier is None:
                decision = decide(asked.text, candidates, limits)
            else:
                decision = await asyncio.to_thread(decide, asked.text, candidates, limits, verifier.scores)
            if decision.served is None:
                grey = left[decision.grey] if decision.grey is not None else None
                if unusable is not None and not left:
                    return unusable
                return Match(decision.why, decision.similarity, grey=grey)
            chosen = left.pop(decision.served)
            found = await self._store.get(chosen.key)
            if found is not None and usable(found.entry):
                return Match("served", chosen.similarity, chosen.key, found)
            unusable = unusable or Match("gone" if found is None else "stale", chosen.similarity)
            if found is None:
                self._background.begin(self._forget_gone(chosen.key))

    async def _forget_gone(self, key: str) -> None:
        """Remove a question whose entry is not there any more."""
        try:
            async with asyncio.timeout(REMEMBER_SECONDS):
                if await self._store.peek(key) is None:
                    await self._index.remove([key])
        except Exception as error:
            log.info("a question could not be removed: %s", str(error) or type(error).__name__)

    async def _remember(self, asked: Asked, key: str, entry: Entry, admitted: Callable[[], str | None]) -> None:
        reason = admitted()
        if reason is None:
            reason = await self._take_in(asked, key, entry)
        if reason is not None:
            self._metrics.semantic_skipped.labels(reason).inc()

    async def _take_in(self, asked: Asked, key: str, entry: Entry) -> str | None:
        try:
            async with asyncio.timeout(REMEMBER_SECONDS):
                vector = await self._vector(asked.text)
                if vector is None:
                    return "no-embedding"
                if not vector.any():
                    return "no-vector"
                await self._index.add(Point(key, asked.scope, asked.text, vector, entry.kept_until))
        except Exception as error:
            self._searching.count()
            log.info("a question could not be taken in: %s", str(error) or type(error).__name__)
            return "no-index"
        return None
