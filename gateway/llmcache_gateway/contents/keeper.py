"""Cached contents that cost by the hour, kept only while they pay: made, renewed and deleted beside the requests.

A request only looks at what is known (`Contents`). All that is asked of the provider, and noted for other gateways, is
done by tasks of its own; whatever fails there is counted and told, and requests go on without a cached content.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeVar

from llmcache_gateway.background import Background
from llmcache_gateway.config import CachedContents
from llmcache_gateway.contents.owner import GONE, Account, Owner
from llmcache_gateway.errors import ContentError, StoreError
from llmcache_gateway.hint_stats import Side
from llmcache_gateway.hints.contents import PAUSE_SECONDS, TRIED, Content, Contents, Route
from llmcache_gateway.hints.prompt import Place
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.stores.contents import MAKING_SECONDS, ContentLedger, LocalContents, Noted
from llmcache_gateway.stores.guarded import GuardedStore

log = logging.getLogger(__name__)

TICK_SECONDS: Final = 5.0
"""How often a gateway says that it uses its contents, and looks which are to be renewed or deleted."""

LEDGER_SECONDS: Final = 2.0
"""Longest that is waited for what other gateways know."""

CLOSE_SECONDS: Final = 5.0
"""Longest that the deletions take when a gateway ends. What is left by then ends by its ttl."""

AGAIN_SECONDS: Final = 10.0
"""After a failure that says nothing of the prefix, it is tried again so much later."""

ELSEWHERE_SECONDS: Final = 1.0
"""While another gateway makes a content, it is asked for again so much later."""

MAX_NOTES: Final = 8
"""Most that is noted or looked up at once: so many connections serve all contents of a gateway."""

T = TypeVar("T")


class Charge(NamedTuple):
    """What a content costs beside the requests that use it, in tokens of uncached input and in USD."""

    policy: str
    side: Side
    tokens: float
    usd: float


class ContentKeeper:
    """The cached contents of a configuration. `clock` returns seconds; `charge` takes what they cost."""

    def __init__(
        self,
        settings: CachedContents,
        ledger: ContentLedger,
        metrics: Metrics,
        charge: Callable[[Charge], None],
        clock: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.known = Contents(settings)
        self._ledger = ledger
        self._metrics = metrics
        self._charge = charge
        self._clock = clock
        self._who = secrets.token_hex(8)
        self._notes = asyncio.Semaphore(MAX_NOTES)
        self._owners: dict[bytes, Owner] = {}
        self._renewing: dict[str, asyncio.Task[None]] = {}
        self._background = Background()
        self._ticking: asyncio.Task[None] | None = None
        self._closed = False
        metrics.cached_contents.set_function(lambda: len(self.known.there))
        metrics.cached_content_tokens.set_function(lambda: sum(one.tokens for one in self.known.there.values()))

    def use(self, places: Iterable[Place], body: bytes, owner: Owner) -> tuple[Place, Content] | None:
        """Return the content that a request is to use, and up to where it holds the request's beginning.

        Where the beginning comes often enough to be kept, that begins: the requests after this one may use it.
        """
        if self._closed:
            return None
        chosen = self.known.choose(places, owner.route, self._clock())
        if chosen.wanted is not None:
            self.known.begin(chosen.wanted.prefix)
            self._background.begin(self._make(chosen.wanted, body, owner))
            if self._ticking is None:
                self._ticking = asyncio.create_task(self._tick())
        if chosen.used is not None:
            self._owners[chosen.used[0].prefix] = owner  # the credential that made it may hold no longer
        return chosen.used

    def refused(self, name: str) -> None:
        """Note that the provider does not take a content any more: it is used no more, and none made for a while."""
        prefix = self.known.prefix_of(name)
        if prefix is None:
            return
        owner = self._owners[prefix]
        self._forget(prefix, name)
        self.known.give_up(prefix, prefix, self._clock() + PAUSE_SECONDS)
        self._count(owner, "refused")
        log.warning("upstream %r refuses the cached content %s: it is forgotten", owner.upstream.name, name)
        self._background.begin(self._lose(prefix, owner, name))

    def shown(self) -> list[dict[str, Any]]:
        """Return the contents that this gateway uses, as the admin port shows them."""
        now = self._clock()
        return [
            {
                "upstream": self._owners[prefix].upstream.name,
                "model": self._owners[prefix].model,
                "name": content.name,
                "tokens": content.tokens,
                "seconds": round(content.ends - now),
                "idleSeconds": round(now - content.used),
            }
            for prefix, content in self.known.there.items()
        ]

    def paused(self) -> list[dict[str, Any]]:
        """Return the models for which none is made for a while, as the admin port shows them; the log said why."""
        return [
            {"upstream": upstream, "model": model.rpartition("/")[2], "seconds": round(seconds)}
            for (upstream, _, model), seconds in self.known.paused(self._clock()).items()
        ]

    async def close(self) -> None:
        """Delete what no other gateway uses, as far as that is done in time."""
        self._closed = True
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)
        for renewing in self._renewing.values():
            renewing.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.gather(self._retire_all(), self._background.drained(), return_exceptions=True)
                await self._retire_all()  # what was being made is there now
        await self._background.close()
        self.known.there.clear()  # what others use is theirs
        self._owners.clear()

    async def _make(self, place: Place, body: bytes, owner: Owner) -> None:
        """Learn of the content that there is of a beginning, or make it."""
        prefix, token = place.prefix, secrets.token_hex(16)
        paused: bytes | Route = prefix
        pause = AGAIN_SECONDS
        try:
            found = await self._in_time(lambda: self._ledger.claim(prefix.hex(), token, self._who))
            if found is True:
                found = await self._make_claimed(place, body, owner, token)
            if isinstance(found, Noted):
                now = self._clock()
                self._owners[prefix] = owner
                self.known.learn(prefix, Content(found.name, found.tokens, now + found.left, now))
                return
            pause = ELSEWHERE_SECONDS
        except StoreError as error:
            log.warning("no cached content is made while it can't be noted: %s", error)
        except ContentError as error:
            self._count(owner, "failed")
            log.warning("no cached content for the model %r: %s", owner.model, error)
            # What is wrong with this beginning, such as its length, says nothing of others.
            paused, pause = prefix if error.status == 400 else owner.route, PAUSE_SECONDS
        except Exception:
            # Requests go on without a content: whatever went wrong is waited out like any other failure.
            log.exception("a cached content could not be made")
        self.known.give_up(prefix, paused, self._clock() + pause)

    async def _make_claimed(self, place: Place, body: bytes, owner: Owner, token: str) -> Noted | bool:
        """Make a content and note it; False where the claim was lost meanwhile. ContentError where none is made."""
        key, ttl = place.prefix.hex(), self.known.ttl
        holding = asyncio.create_task(self._hold(key, token))
        try:
            made = await owner.make(place, body, ttl)
        except BaseException:
            with suppress(StoreError):
                await self._in_time(lambda: self._ledger.give_up(key, token))
            raise
        finally:
            holding.cancel()
        self._count(owner, "made")
        self._pay(owner.account, owner.account.making(made.tokens, ttl))
        noted = Noted(made.name, made.tokens, ttl, 0.0)
        kept = False
        try:
            kept = await self._in_time(lambda: self._ledger.keep(key, token, self._who, noted))
        finally:
            if not kept:  # another gateway makes one by now, or nobody would know of this one
                await self._delete(owner, made.name)
        return noted if kept else False

    async def _hold(self, key: str, token: str) -> None:
        """Renew a claim, until cancelled."""
        while True:
            await asyncio.sleep(MAKING_SECONDS / 3)
            with suppress(StoreError):
                await self._in_time(lambda: self._ledger.renew_claim(key, token))

    async def _tick(self) -> None:
        """Look after the contents, until cancelled."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            await asyncio.gather(*(self._tend(*one) for one in list(self.known.there.items())))

    async def _tend(self, prefix: bytes, content: Content) -> None:
        """Say that this gateway uses a content; renew it or delete it where it is time to."""
        now, owner = self._clock(), self._owners.get(prefix)
        if owner is None:
            return  # refused by now
        hot, half = self.known.is_hot(content, now), self.known.ttl / 2
        idle, below, uses = now - content.used, half if hot else 0.0, content.uses
        try:
            if not hot and not uses and await self._retire(prefix, content, owner, idle=self.known.idle):
                self._background.begin(self._delete(owner, content.name))
                return
            noted = await self._in_time(
                lambda: self._ledger.touch(
                    prefix.hex(), content.name, self._who, idle=idle, renew_below=below, uses=uses
                )
            )
            content.uses -= uses
            if noted is None:
                self._forget(prefix, content.name)
                return
            content.ends = now + noted.left
            if noted.renew and content.name not in self._renewing:
                self._renewing[content.name] = self._background.begin(self._renew(prefix, content, owner, noted.left))
        except StoreError as error:
            log.debug("a cached content can't be looked after: %s", error)
            if content.ends <= now:
                self._forget(prefix, content.name)
        except Exception:
            # The other contents are looked after all the same, and this one again at the next tick.
            log.exception("a cached content could not be looked after")

    async def _renew(self, prefix: bytes, content: Content, owner: Owner, left: float) -> None:
        """Have a content renewed, in a task of its own: others are looked after meanwhile, however long it takes."""
        key, name, ttl = prefix.hex(), content.name, self.known.ttl
        try:
            await owner.renew(name, ttl)
            content.ends = self._clock() + ttl
            self._count(owner, "renewed")
            self._pay(owner.account, owner.account.keeping(content.tokens, ttl - left))
            await self._in_time(lambda: self._ledger.extend(key, name, ttl))
        except ContentError as error:
            self._count(owner, "failed")
            log.warning("the cached content %s is not renewed: %s", name, error)
            if error.status in GONE:
                self._forget(prefix, name)
                with suppress(StoreError):
                    await self._in_time(lambda: self._ledger.forget(key, name))
        except StoreError as error:
            log.debug("a cached content was renewed, which can't be noted: %s", error)
        except Exception:
            # Nobody waits for it: at worst the content ends, and its requests pay in full.
            log.exception("a cached content could not be renewed")
        finally:
            del self._renewing[name]

    async def _retire(self, prefix: bytes, content: Content, owner: Owner, *, idle: float | None) -> bool:
        """Say whether nobody uses a content, for the caller to delete it; `idle` is as the ledger has it."""
        life = await self._in_time(lambda: self._ledger.retire(prefix.hex(), content.name, self._who, idle=idle))
        if life is None:
            return False
        self._forget(prefix, content.name)
        if idle is not None and owner.account.must_pay:
            self._judge(owner, owner.account.brought(content.tokens, life.uses, life.paid))
        return True

    def _judge(self, owner: Owner, brought: float) -> None:
        if self.known.judge(owner.route, brought, self._clock()):
            log.warning(
                "the last %d cached contents for the model %r cost more than they brought: none is made for a while",
                TRIED,
                owner.model,
            )

    async def _retire_all(self) -> None:
        there = [self._end(prefix, content, self._owners[prefix]) for prefix, content in self.known.there.items()]
        await asyncio.gather(*there, return_exceptions=True)

    async def _end(self, prefix: bytes, content: Content, owner: Owner) -> None:
        if await self._retire(prefix, content, owner, idle=None):
            await self._delete(owner, content.name)

    async def _lose(self, prefix: bytes, owner: Owner, name: str) -> None:
        with suppress(StoreError):
            await self._in_time(lambda: self._ledger.forget(prefix.hex(), name))
        await self._delete(owner, name)  # where it is still there, it costs

    async def _delete(self, owner: Owner, name: str) -> None:
        """Delete a content at the provider, where that can be done; else it ends by its ttl."""
        try:
            await owner.delete(name)
        except ContentError as error:
            if error.status not in GONE:
                log.warning("the cached content %s is not deleted, and ends by its ttl: %s", name, error)
        else:
            self._count(owner, "deleted")

    async def _in_time(self, asked: Callable[[], Awaitable[T]]) -> T:
        """Return what the ledger says; StoreError when it says nothing, in time."""
        try:
            async with asyncio.timeout(LEDGER_SECONDS), self._notes:
                return await asked()
        except TimeoutError:
            raise StoreError(f"no answer within {LEDGER_SECONDS:g} s") from None

    def _forget(self, prefix: bytes, name: str) -> None:
        """Forget a content, and not one that there is of its prefix since."""
        held = self.known.there.get(prefix)
        if held is not None and held.name == name:
            self.known.forget(prefix)
            del self._owners[prefix]

    def _count(self, owner: Owner, event: str) -> None:
        self._metrics.cached_content_events.labels(owner.upstream.name, event).inc()

    def _pay(self, account: Account, tokens: float) -> None:
        self._charge(Charge(account.policy, account.side, tokens, tokens * account.usd_per_token))


def open_contents(
    settings: CachedContents | None,
    store: GuardedStore,
    *,
    metrics: Metrics,
    charge: Callable[[Charge], None],
    clock: Callable[[], float],
    previous: ContentKeeper | None,
) -> ContentKeeper | None:
    """Return the keeper of a configuration, or `previous`, which has the same store; None where it wants none."""
    if settings is None:
        return None
    if previous is not None and previous.settings == settings:
        return previous
    return ContentKeeper(settings, store.contents() or LocalContents(clock), metrics, charge, clock)
