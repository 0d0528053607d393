"""What gateways' counters prove of a new version."""

import math
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from llmcache_gateway.config import Analysis, share
from llmcache_operator.rollout.state import Counts, Evidence, Mark, Reason

MIN_FAILURES = 3
"""One or two misses that fail prove nothing."""

MIN_TIMED = 20
"""Misses that each version needs before their times are compared."""

QUANTILE = 0.9


class Stats(NamedTuple):
    """One gateway's counters since its process began; `le` are the upper ends of `within`'s buckets, in seconds."""

    instance: str
    versions: Mapping[str, Counts]
    le: tuple[float, ...] = ()


class Verdict(NamedTuple):
    """What the evidence says: why to give a version up, or why to wait. Where neither, a rollout goes on by itself."""

    text: str
    abort: Reason | None = None
    wait: Reason | None = None


def begin(
    pods: Collection[str], ready: Collection[str], stats: Mapping[str, Stats], versions: tuple[str, str], now: datetime
) -> Evidence | None:
    """Return the evidence of a step that begins: none yet. None when a ready gateway could not be asked.

    A pod that is not ready may have counted before, and is marked when it first answers.
    """
    if not all(pod in stats for pod in ready):
        return None
    return Evidence(at=now, marks=[_mark(pod, stats.get(pod), versions) for pod in sorted(pods)])


def absorb(
    evidence: Evidence, pods: Collection[str], stats: Mapping[str, Stats], versions: tuple[str, str], now: datetime
) -> Evidence:
    """Return the evidence with what was counted since the last look. `versions` are the active one and the new one.

    A process that was not there at the last look has counted since: it counts from zero. A gateway that can't be asked
    keeps its mark for as long as its pod is there.
    """
    before = {mark.pod: mark for mark in evidence.marks}
    active, target, marks = evidence.active, evidence.target, []
    for pod in sorted(pods):
        mark, now_there = before.get(pod, Mark(pod=pod)), stats.get(pod)
        if now_there is None:
            if pod in before:
                marks.append(mark)
            continue
        marks.append(_mark(pod, now_there, versions))
        if pod in before and not mark.instance:
            continue  # what it had counted before the step is not known
        if mark.instance != now_there.instance:
            mark = Mark(pod=pod)
        active = plus(active, minus(marks[-1].active, mark.active))
        target = plus(target, minus(marks[-1].target, mark.target))
    return Evidence(at=now, active=active, target=target, marks=marks)


def judge(evidence: Evidence, analysis: Analysis, le: Sequence[float]) -> Verdict:
    """Return what the evidence says of the new version, against the active one."""
    target, active = evidence.target, evidence.active
    counted = f"{target.requests}/{analysis.min_requests} requests"
    failed = f"{target.failed} of {target.misses} misses failed, at most {analysis.max_error_rate} may"
    if _failing(target, analysis):
        if active.failed >= MIN_FAILURES and _failing(active, analysis):
            both = f"{failed}; of the active version's, {active.failed} of {active.misses} failed as well"
            return Verdict(both, wait="UpstreamFails")
        # So many that those still to come up to the minimum could not make up for them.
        if target.failed >= MIN_FAILURES and target.failed > analysis.min_requests * share(analysis.max_error_rate):
            return Verdict(failed, abort="MissesFail")
        return Verdict(f"{counted}; {failed}, which is too little to tell", wait="TooFewRequests")
    if target.requests < analysis.min_requests:
        return Verdict(counted, wait="TooFewRequests")
    slow, fast = (quantile(counts.within, le) for counts in (target, active))
    limit = float(analysis.max_latency_ratio)
    if slow is not None and fast is not None and slow > limit * fast:
        text = (
            f"nine in ten misses take up to {slow:.2f} s, more than {limit:g} times the active version's {fast:.2f} s"
        )
        return Verdict(text, abort="MissesSlow")
    return Verdict(f"{counted}, {target.failed} of {target.misses} misses failed")


def quantile(within: Sequence[int], le: Sequence[float]) -> float | None:
    """Return the time that nine in ten misses take at most, from cumulated buckets; None where there are too few."""
    if not within or len(within) != len(le) or within[-1] < MIN_TIMED:
        return None
    rank, low, below = QUANTILE * within[-1], 0.0, 0
    for upper, count in zip(le, within, strict=True):
        if count >= rank:
            return low if math.isinf(upper) else low + (upper - low) * (rank - below) / (count - below)
        low, below = upper, count
    return low


def plus(one: Counts, other: Counts) -> Counts:
    """Return the sum of two counts."""
    return _each(one, other, 1)


def minus(one: Counts, other: Counts) -> Counts:
    """Return what was added to `other`; nothing where it went backwards."""
    return _each(one, other, -1)


def _each(one: Counts, other: Counts, sign: int) -> Counts:
    within = [0] * max(len(one.within), len(other.within))
    # Buckets of two kinds (gateways of two releases) can't be added: then the longer list is not filled in.
    if len(one.within) == len(other.within) or not (one.within and other.within):
        mine, others = (counts.within or within for counts in (one, other))
        within = [max(0, count + sign * more) for count, more in zip(mine, others, strict=True)]
    return Counts(
        requests=max(0, one.requests + sign * other.requests),
        misses=max(0, one.misses + sign * other.misses),
        failed=max(0, one.failed + sign * other.failed),
        within=within,
    )


def _failing(counts: Counts, analysis: Analysis) -> bool:
    return counts.failed > counts.misses * share(analysis.max_error_rate)


def _mark(pod: str, stats: Stats | None, versions: tuple[str, str]) -> Mark:
    if stats is None:
        return Mark(pod=pod)
    active, target = (stats.versions.get(version, Counts()) for version in versions)
    return Mark(pod=pod, instance=stats.instance, active=active, target=target)
