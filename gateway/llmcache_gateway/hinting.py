"""Where hints meet a request: the call upstream with one, and the upstream that refuses it."""

import logging
from dataclasses import replace

from llmcache_gateway import canonical
from llmcache_gateway.config import Hints
from llmcache_gateway.contents import google
from llmcache_gateway.contents.owner import Account, Owner
from llmcache_gateway.errors import RequestError
from llmcache_gateway.exchange import Question
from llmcache_gateway.heads import Head
from llmcache_gateway.hints import gemini
from llmcache_gateway.hints.experiment import is_alternative
from llmcache_gateway.hints.hinter import CACHED_CONTENT, Asked, Hinted
from llmcache_gateway.hints.standdowns import Refusal, names_hint, refuses
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.policy import overridden
from llmcache_gateway.runtime import Runtime
from llmcache_gateway.upstreams.base import Call, Upstream

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
    hinted = None
    if question.hinting:
        hinted = runtime.hinter.hinted(hints, asked) or _with_content(runtime, question, hints, asked, call)
    question.hinted = hinted
    if hinted is None:
        return call
    metrics.hints.labels(question.upstream.name, hinted.hint).inc()
    headers = call.headers
    if hinted.header is not None:
        headers = headers.copy()
        headers.add(*hinted.header)
    return replace(call, body=hinted.body, headers=headers)


def _with_content(runtime: Runtime, question: Question, hints: Hints, asked: Asked, call: Call) -> Hinted | None:
    """Return a request that uses a cached content in place of its beginning; None where there is none, or not yet."""
    upstream, home = question.upstream, google.home_of(call.target)
    if runtime.contents is None or home is None:
        return None
    try:
        # A content belongs to the credential that made it, and nobody is to learn what another tenant asks.
        credential = runtime.tenants.credential(call.headers) if upstream.passthrough else ""
        payers = google.payers(call.headers)
        whose = (*upstream.identity, home.parent, home.model, question.tenant, credential, payers)
        places = runtime.hinter.beginnings(hints, asked, whose)
        if not places:
            return None
        used = runtime.contents.use(places, asked.body, _owner(runtime, question, hints, home, call))
        if used is None:
            return None
        place, content = used
        body = gemini.using(asked.body, content.name, place)
    except (ValueError, RequestError):
        return None  # a body that can't be parted, or a credential that names nobody
    return Hinted(CACHED_CONTENT, body, None, (place,), runtime.contents.known.ttl, content.name)


def _owner(runtime: Runtime, question: Question, hints: Hints, home: google.Home, call: Call) -> Owner:
    provider, model = question.upstream.provider, question.request.model
    prices, rate = runtime.hinter.capabilities.of(provider, model).prices, runtime.prices.of(provider, model)
    account = Account(
        policy=question.settings.policy,
        side=question.side or "main",
        read=prices.read if prices is not None else 0.0,
        storage=prices.storage if prices is not None else 0.0,
        usd_per_token=rate.input if rate is not None else 0.0,
        must_pay=hints.mode != "always" and prices is not None,
    )
    return Owner(question.upstream, model, home, google.speaker(call.headers), account)


def refuse_to_list(runtime: Runtime, upstream: Upstream, head: Head) -> None:
    """Raise RequestError for a list that would name what gateways keep for others, for the upstream's own credential.

    Whoever knows a cached content's name can have it used, and ask what it says.
    """
    if runtime.contents is None or upstream.passthrough:
        return
    if google.lists_contents(head.method, head.path, head.headers):
        message = (
            "This list would name cached contents that are kept for other clients (hints.cachedContents). Ask for one "
            "of your own by its name."
        )
        raise RequestError(403, message, code="not_for_clients")


def hint_is_refused(runtime: Runtime, question: Question, status: int, body: bytes, metrics: Metrics) -> bool:
    """Say whether a request is to be asked once more without its hint, which is refused, or may be.

    Where the answer names the hint, the model gets none for a while; else once it is seen that this one is answered
    without (`answered`).
    """
    hinted = question.hinted
    if hinted is None or not refuses(status, uses_content=bool(hinted.name)):
        return False
    question.hinting = False
    refusal = Refusal(hinted.hint, hinted.name, status)
    if names_hint(body):
        _stand_down(runtime, question, refusal, metrics)
    else:
        question.suspected = refusal
    return True


def answered(runtime: Runtime, question: Question, status: int, metrics: Metrics) -> None:
    """Note how an answer begins: a good one to what was refused with a hint says that the hint was at fault."""
    suspected, question.suspected = question.suspected, None
    if suspected is not None and status == 200:
        _stand_down(runtime, question, suspected, metrics)


def _stand_down(runtime: Runtime, question: Question, refusal: Refusal, metrics: Metrics) -> None:
    if refusal.name and runtime.contents is not None:
        runtime.contents.refused(refusal.name)
    if refusal.is_of_content:
        return
    upstream, model = question.upstream.name, question.request.model
    runtime.hinter.stand_down(upstream, model, refusal.hint)
    metrics.hint_stand_downs.labels(upstream, refusal.hint).inc()
    log.warning("upstream %r refuses %s for the model %r, which gets none for a while", upstream, refusal.hint, model)
