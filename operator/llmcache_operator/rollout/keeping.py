"""Which versions are kept, which are purged, and what is remembered of the past."""

from datetime import datetime, timedelta

from msgspec.structs import replace

from llmcache_gateway.config import Retain, seconds
from llmcache_operator.rollout.state import MAX_HISTORY, MAX_VERSIONS, Happened, Past, PrefixStatus, Purging, Retained


def activated(prefix: PrefixStatus, retain: Retain, now: datetime) -> PrefixStatus:
    """Return the state in which the target has become the active version, and the former one is kept."""
    kept = [one for one in prefix.retained if one.version != prefix.target]
    if prefix.active is not None and prefix.active != prefix.target:
        kept.insert(0, Retained(version=prefix.active, until=now + timedelta(seconds=seconds(retain.duration))))
    return noted(replace(prefix, active=prefix.target, retained=kept), prefix.target, "Promoted", now)


def abandoned(prefix: PrefixStatus, what: Happened, retain: Retain, now: datetime) -> PrefixStatus:
    """Return the state in which the target is given up: purged, unless it is a former version that is kept."""
    prefix = noted(prefix, prefix.target, what, now)
    if prefix.target in (prefix.active, *prefix.retained_versions, *prefix.purging_versions):
        return prefix
    if prefix.active is None:
        # Gateways may serve it until they run the next one.
        until = now + timedelta(seconds=seconds(retain.duration))
        kept = [Retained(version=prefix.target, until=until), *prefix.retained]
        return replace(prefix, retained=kept[:MAX_VERSIONS])
    return _leaving(prefix, [prefix.target])


def aged(prefix: PrefixStatus, retain: Retain, now: datetime) -> PrefixStatus:
    """Return the state in which those former versions are to be purged that are too old, or too many."""
    if prefix.active is None:
        return prefix
    kept: list[Retained] = []
    leaving: list[str] = []
    longest = now + timedelta(seconds=seconds(retain.duration))
    for one in prefix.retained:
        until = min(one.until, longest)  # the time may have been shortened, or the clock set back
        if one.version == prefix.target or (until > now and len(kept) < retain.versions):
            kept.append(replace(one, until=until))
        else:
            leaving.append(one.version)
    return _leaving(replace(prefix, retained=kept), leaving)


def purged(prefix: PrefixStatus, version: str, jobs: list[str], now: datetime) -> PrefixStatus:
    """Return the state after a purge was carried on: `jobs` are what gateways are still at; none means it is done."""
    left = [replace(one, jobs=jobs) if one.version == version else one for one in prefix.purging]
    if jobs:
        return replace(prefix, purging=left)
    left = [one for one in left if one.version != version]
    return noted(replace(prefix, purging=left), version, "Purged", now)


def noted(prefix: PrefixStatus, version: str, what: Happened, now: datetime) -> PrefixStatus:
    """Return the state with something that happened in its history."""
    return replace(prefix, history=[Past(version=version, what=what, at=now), *prefix.history][:MAX_HISTORY])


def _leaving(prefix: PrefixStatus, versions: list[str]) -> PrefixStatus:
    leaving = [*prefix.purging, *(Purging(version=version) for version in versions)]
    # Only gateways that are away for long let so many come together. The oldest are nearest to their TTL.
    return replace(prefix, purging=leaving[-MAX_VERSIONS:])
