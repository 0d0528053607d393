"""Where hints meet a request: the call upstream with one, and the upstream that refuses it."""

import logging
from dataclasses import replace

from llmcache_gateway import canonical
from llmcache_gateway.errors import RequestError
from llmcache_gateway.exchange import Question
from llmcache_gateway.hints.experiment import is_alternative
from llmcache_gateway.hints.hinter import Asked
from llmcache_gateway.hints.standdowns import names_hint, refuses
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.policy import overridden
from llmcache_gateway.runtime import Runtime
from llmcache_gateway.upstreams.base import Call

log = logging.getLogger(__name__)


def hinted_call(runtime: Runtime, question: Question, call: Call, metrics: Metrics, *, changed: bool) -> Call:
    """Return a call with the hint that its settings say; the call itself when it gets none.

    `changed` says whether a hook made it another one than the client's.
    """
    hints, question.side, question.hinted = question.settings.hints, None, None
    if (hints.mode == "off" and hints.experiment is None) or not isinstance(call.body, bytes):
        return call
    try:
        members = canonical.decode(call.body) if changed else question.request.members
    except RequestError:
        return call  # what a hook makes of a request is its own
    asked = Asked(
        dialect=question.dialect.name,
        provider=question.upstream.provider,
        upstream=question.upstream.name,
        model=question.request.model,
        tenant=question.tenant,
        members=members,
        body=call.body,
        headers=question.headers,
    )
    question.side = "main"
    if hints.experiment is not None:
        prefix = runtime.hinter.prefix(asked)
        if prefix is None:
            question.side = None  # on neither side: nothing would be compared
        elif is_alternative(hints.experiment, prefix):
            question.side, asked = "alternative", asked._replace(side="alternative")
            hints = overridden(hints, hints.experiment.alternative)
    hinted = question.hinted = runtime.hinter.hinted(hints, asked) if question.hinting else None
    if hinted is None:
        return call
    metrics.hints.labels(question.upstream.name, hinted.hint).inc()
    headers = call.headers
    if hinted.header is not None:
        headers = headers.copy()
        headers.add(*hinted.header)
    return replace(call, body=hinted.body, headers=headers)


def hint_is_refused(runtime: Runtime, question: Question, status: int, body: bytes, metrics: Metrics) -> bool:
    """Say whether a request is to be asked once more without its hint, which is refused, or may be.

    Where the answer names the hint, the model gets none for a while; else once it is seen that this one is answered
    without (`answered`).
    """
    if question.hinted is None or not refuses(status):
        return False
    question.hinting = False
    if names_hint(status, body):
        _stand_down(runtime, question, question.hinted.hint, metrics)
    else:
        question.suspected = question.hinted.hint
    return True


def answered(runtime: Runtime, question: Question, status: int, metrics: Metrics) -> None:
    """Note how an answer begins: a good one to what was refused with a hint says that the hint was at fault."""
    suspected, question.suspected = question.suspected, None
    if suspected is not None and status == 200:
        _stand_down(runtime, question, suspected, metrics)


def _stand_down(runtime: Runtime, question: Question, hint: str, metrics: Metrics) -> None:
    upstream, model = question.upstream.name, question.request.model
    runtime.hinter.stand_down(upstream, model, hint)
    metrics.hint_stand_downs.labels(upstream, hint).inc()
    log.warning("upstream %r refuses %s for the model %r, which gets none for a while", upstream, hint, model)
