"""The judge at work: what the verifier was not sure of is decided in the background, once it has been answered."""

import asyncio
import hashlib
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from llmcache_gateway.background import Background
from llmcache_gateway.config import Judge, Semantic, seconds
from llmcache_gateway.errors import UpstreamError
from llmcache_gateway.exchange import Question
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.plainjson import dumps, loads
from llmcache_gateway.record import Recording
from llmcache_gateway.runtime import Runtime
from llmcache_gateway.semantic.allowance import Allowance
from llmcache_gateway.semantic.answers import text_of, whole_text
from llmcache_gateway.semantic.asking import ask
from llmcache_gateway.semantic.judge import Verdict, Words, asked_of, estimated_tokens, read_verdict
from llmcache_gateway.usage import read_usage

if TYPE_CHECKING:
    from llmcache_gateway.semantic.cache import SemanticCache
    from llmcache_gateway.semantic.indexes.base import Neighbour
    from llmcache_gateway.semantic.suitability import Asked

log = logging.getLogger(__name__)

MAX_AT_ONCE: Final = 4
"""Most judgements under way. Beyond it a question is left unjudged: they must not heap up behind a slow judge."""

MAX_KNOWN: Final = 5000
"""Most pairs that are remembered as different, so that they are not paid for again."""

MAX_ANSWER_BYTES: Final = 64 * 1024
"""Longest answer of a model that judges, whose word is one of a few bytes."""


@dataclass(frozen=True, slots=True)
class _Case:
    """A question to be judged: by whom, the key of its own request, and the stored question that it may be."""

    semantic: Semantic
    judge: Judge
    runtime: Runtime
    cache: "SemanticCache"
    question: Question
    key: str
    asked: "Asked"
    grey: "Neighbour"

    @property
    def pair(self) -> bytes:
        """What names the question, the stored one, and who judges them, in few bytes."""
        named = (self.judge.upstream or "", self.judge.model or "", self.asked.scope, self.grey.key, self.asked.text)
        return hashlib.sha256("\n".join(named).encode("utf-8", "surrogatepass")).digest()


class Judging:
    """Judges within the bounds of the configuration, which count for the process, and remembers what is the same.

    `clock` returns seconds since the epoch.
    """

    def __init__(self, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._metrics = metrics
        self._allowance = Allowance(clock)
        self._different: OrderedDict[bytes, None] = OrderedDict()
        self._background = Background()

    def judge_soon(self, runtime: Runtime, question: Question, key: str, recording: Recording) -> None:
        """Begin to judge a question that has been answered, if there is a stored one that it may be.

        `key` is the request's own, `recording` the answer.
        """
        semantic, asked, grey, cache = question.settings.semantic, question.asked, question.grey, runtime.semantic
        if semantic is None or semantic.judge is None or asked is None or grey is None or cache is None:
            return
        case = _Case(semantic, semantic.judge, runtime, cache, question, key, asked, grey)
        reason = self._left_out(case)
        if reason is not None:
            self._metrics.semantic_judge_skipped.labels(reason).inc()
            return
        fresh = None
        if case.judge.upstream is None and not recording.too_large:
            fresh = whole_text(question.dialect, question.request, recording.answer())
        runtime.enter()  # its store must not be closed under it, nor before it has begun
        task = self._background.begin(self._judge(case, fresh))
        task.add_done_callback(lambda _: runtime.leave())

    async def close(self) -> None:
        """Stop what is under way: nobody waits for it."""
        await self._background.close()

    def _left_out(self, case: _Case) -> str | None:
        """Return why a question is not judged, as a stable word; None where it is, which is counted then."""
        if case.pair in self._different:
            return "known"
        if len(self._background) >= MAX_AT_ONCE:
            return "busy"
        bounds = case.judge
        return self._allowance.take(
            per_minute=bounds.calls_per_minute, per_day=bounds.calls_per_day, tokens_per_day=bounds.tokens_per_day
        )

    async def _judge(self, case: _Case, fresh: str | None) -> None:
        verdict: Verdict = "unknown"
        try:
            async with asyncio.timeout(seconds(case.judge.deadline)):
                verdict = await self._verdict(case, fresh)
        except TimeoutError:
            log.warning("a question was not judged within %s", case.judge.deadline)
        except UpstreamError as error:
            log.warning("a question was not judged: %s", error.message)
        except Exception:
            # Nobody waits for it: whatever went wrong, the question was answered, and is only not judged.
            log.exception("a question could not be judged")
        if verdict == "different":
            self._different[case.pair] = None
            if len(self._different) > MAX_KNOWN:
                self._different.popitem(last=False)
        by = "model" if case.judge.upstream is not None else "answers"
        self._metrics.semantic_judged.labels(case.question.settings.policy, by, verdict).inc()
        log.info("JUDGED", extra={"fields": {"verdict": verdict, "by": by, "key": case.key, "stored": case.grey.key}})

    async def _verdict(self, case: _Case, fresh: str | None) -> Verdict:
        """Say whether a question is the stored one, and remember it if so; `fresh` is its answer, where that counts."""
        stored = await case.runtime.store.get(case.grey.key)
        if stored is None:
            return "unknown"
        if case.judge.upstream is not None:
            verdict = await self._ask(case)
        else:
            given = text_of(case.question.dialect, stored.entry)
            verdict = await case.cache.compared(given, fresh, case.semantic, guarded=True)
        if verdict == "same":
            case.cache.aliases.remember(
                case.asked,
                case.key,
                key=case.grey.key,
                entry=stored.entry,
                similarity=case.grey.similarity,
                epoch=case.question.epoch,
                tags=case.question.controls.tags,
                ttl=case.question.controls.ttl,
            )
        return verdict

    async def _ask(self, case: _Case) -> Verdict:
        """Have a model judge; UpstreamError where it gives no answer."""
        upstream = next(one for one in case.runtime.upstreams if one.name == case.judge.upstream)
        words = Words.of(secrets.token_hex(4))
        body = asked_of(case.judge.model or "", case.grey.text, case.asked.text, words)
        answer: Any = None
        raw = b""
        try:
            raw = await ask(upstream, "/v1/chat/completions", body, what="a judgement", most=MAX_ANSWER_BYTES)
            answer = loads(raw)
        except ValueError:
            return "unknown"
        finally:
            self._count_tokens(answer, dumps(body), raw)
        return read_verdict(answer, words)

    def _count_tokens(self, answer: Any, asked: bytes, said: bytes) -> None:
        """Count what a call took; what is not told is estimated, for a call that broke off may be paid for too."""
        usage = read_usage(answer)
        spent = {
            "input": usage.input if usage is not None else estimated_tokens(asked),
            "output": usage.output if usage is not None else estimated_tokens(said),
        }
        for kind, tokens in spent.items():
            self._metrics.semantic_judge_tokens.labels(kind).inc(tokens)
        self._allowance.spend(sum(spent.values()))
