"""The error budget at work: a sample of hits by meaning is asked again, and what differs makes the policy stricter."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from llmcache_gateway.config import Semantic
from llmcache_gateway.entry import Entry
from llmcache_gateway.exchange import Question
from llmcache_gateway.forward import Forwarder
from llmcache_gateway.labelling import Hit, Labelling
from llmcache_gateway.runtime import Runtime
from llmcache_gateway.semantic.answers import answer_of, text_of, whole_text
from llmcache_gateway.semantic.budget import share_asked_again
from llmcache_gateway.semantic.judge import ALIAS, Verdict

if TYPE_CHECKING:
    from llmcache_gateway.semantic.cache import Match


class FalseHits:
    """Samples hits. `draw` returns a number from 0 to 1."""

    def __init__(self, forwarder: Forwarder, labelling: Labelling, draw: Callable[[], float]) -> None:
        self._forwarder = forwarder
        self._labelling = labelling
        self.budgets = labelling.budgets
        self._draw = draw

    def sample_soon(self, runtime: Runtime, question: Question, key: str, match: "Match") -> None:
        """Ask a hit's question again in the background, if it is drawn; `key` is the request's own."""
        semantic, found = question.settings.semantic, match.found
        if semantic is None or found is None or self._draw() >= share_asked_again(semantic):
            return
        hit = Hit(runtime, question, key, match.key, match.similarity, match.why == ALIAS)
        self._labelling.begin(hit, lambda: self._ask_again(hit, semantic, found.entry))

    async def _ask_again(self, hit: Hit, semantic: Semantic, given: Entry) -> Verdict:
        """Ask upstream, and say whether the answer is what was given."""
        runtime, question = hit.runtime, hit.question
        if await self._forwarder.refresh(runtime, question, hit.key) != "stored" or runtime.semantic is None:
            return "unknown"
        await runtime.store.flush()
        found = await runtime.store.get(hit.key)
        answer = answer_of(question.dialect, found.entry if found is not None else None)
        fresh = whole_text(question.dialect, question.request, answer)
        return await runtime.semantic.compared(text_of(question.dialect, given), fresh, semantic)
