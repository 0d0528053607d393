"""Shadow mode at work: what a client would have been given is compared with the answer that came instead."""

from collections.abc import Callable

from llmcache_gateway.config import Semantic
from llmcache_gateway.entry import Entry
from llmcache_gateway.exchange import Question, Withheld
from llmcache_gateway.freshness import remaining
from llmcache_gateway.labelling import Hit, Labelling
from llmcache_gateway.record import Recording
from llmcache_gateway.runtime import Runtime
from llmcache_gateway.semantic.answers import text_of, whole_text
from llmcache_gateway.semantic.budget import share_compared
from llmcache_gateway.semantic.judge import Verdict


class Shadowing:
    """Compares withheld answers with fresh ones. `clock` returns seconds since the epoch; `draw`, a number up to 1."""

    def __init__(self, labelling: Labelling, clock: Callable[[], float], draw: Callable[[], float]) -> None:
        self._labelling = labelling
        self._clock = clock
        self._draw = draw

    def compare_soon(self, runtime: Runtime, question: Question, key: str, recording: Recording | None) -> None:
        """Begin to compare a question's fresh answer with the one that was withheld, if there is one.

        `key` is the request's own; `recording` is None where the answer was none to be stored, and so says nothing.
        """
        semantic, withheld = question.settings.semantic, question.withheld
        if semantic is None or withheld is None:
            return
        share = share_compared(semantic)
        if not share:
            self._labelling.leave_out(question.settings.policy, "embedding")
        elif self._draw() < share:
            hit = Hit(runtime, question, key, withheld.key, withheld.similarity, withheld.alias)
            self._labelling.begin(hit, lambda: self._compare(hit, semantic, withheld, recording))

    async def _compare(self, hit: Hit, semantic: Semantic, withheld: Withheld, recording: Recording | None) -> Verdict:
        """Say whether a fresh answer is what was withheld."""
        runtime, question = hit.runtime, hit.question
        if recording is None or runtime.semantic is None:
            return "unknown"
        found = await runtime.store.get(withheld.key)
        if found is None or not is_still(found.entry, withheld, self._clock(), question.settings.ttl):
            return "unknown"
        fresh = whole_text(question.dialect, question.request, recording.answer())
        return await runtime.semantic.compared(text_of(question.dialect, found.entry), fresh, semantic)


def is_still(entry: Entry, withheld: Withheld, now: float, ttl: float) -> bool:
    """Say whether an entry is the one that was withheld, and is still fresh. `ttl` is the policy's, in seconds."""
    return entry.stored_at == withheld.stored_at and remaining(entry, now, ttl) > 0
