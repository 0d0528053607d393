"""The report of an evaluation, as data and as a table."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llmcache_gateway.evaluate.measure import (
    PLAIN,
    SCORES,
    STEPS,
    Judged,
    Outcome,
    Share,
    by_kind,
    configured,
    count,
    curve,
    rounded,
)
from llmcache_gateway.plaintext import visible
from llmcache_gateway.semantic.decide import Limits

MOST_LINES: Final = 20
"""How many lines of pairs that are answered wrongly the table names."""


@dataclass(frozen=True, slots=True)
class Configured:
    """What judged the pairs: the settings of a policy or of none, the models, and what was asked for vectors.

    `left_out` counts the pairs of which the gateway would not look at a question at all, by reason.
    """

    policy: str | None
    limits: Limits
    verifier: str
    model: str
    left_out: Mapping[str, int]
    asked: dict[str, Any] | None


def report(pairs: Sequence[Judged], by: Configured) -> dict[str, Any]:
    """Everything that is measured, as it is printed with --json: what docs/semantic-evaluation.md promises."""
    limits = by.limits
    serves = configured(limits.least_similarity, limits.least_score, guards=limits.guards)
    total = count(pairs, serves)

    def similarity(least: float) -> Callable[[Judged], bool]:
        return configured(least, limits.least_score, guards=limits.guards)

    def score(least: float) -> Callable[[Judged], bool]:
        return configured(limits.least_similarity, least, guards=limits.guards)

    def cosine(least: float) -> Callable[[Judged], bool]:
        return configured(least, None, guards=False)

    return {
        "pairs": len(pairs),
        **_outcome(total),
        "kinds": {kind: _outcome(outcome) for kind, outcome in by_kind(pairs, serves).items()},
        "wrongLines": [pair.line for pair in pairs if serves(pair) and not pair.same],
        "refused": dict(Counter(_why(pair, limits) for pair in pairs if not serves(pair))),
        "leftOut": dict(by.left_out),
        "policy": by.policy,
        "model": by.model,
        "threshold": limits.least_similarity,
        "guards": limits.guards,
        "verifier": by.verifier,
        "score": limits.least_score,
        "asked": by.asked,
        "curve": curve(pairs, sorted({*STEPS, limits.least_similarity}), similarity),
        "scores": [] if limits.least_score is None else curve(pairs, sorted({*SCORES, limits.least_score}), score),
        "cosine": curve(pairs, sorted({*STEPS, *PLAIN}), cosine),
        "cosineKinds": {
            f"{least:.2f}": {kind: _outcome(outcome) for kind, outcome in by_kind(pairs, cosine(least)).items()}
            for least in PLAIN
        },
    }


def table(told: dict[str, Any]) -> str:
    """The report for people."""
    of_policy = f" by policy {told['policy']}" if told["policy"] is not None else ""
    checks = ["guards"] * told["guards"]
    checks += [f"verifier {told['verifier']} from {told['score']:.2f}"] if told["score"] is not None else []
    asked = told["asked"]
    lines = [] if asked is None else [_asked(asked)]
    lines += [
        f"{told['pairs']} pairs{of_policy}, similarity from {told['threshold']:.2f},"
        f" {', '.join(checks) or 'nothing else'}; {told['model']}",
        "served: share of the pairs that are the same; wrong: share of the others. In brackets: 95 % intervals.",
        "",
        f"{'kind':<18}{'pairs':>7}  {'served':<24}{'wrong':<24}"
        + "".join(f"{'cosine ' + at:<17}" for at in told["cosineKinds"]),
    ]
    rows = [*told["kinds"].items(), ("all", told)]
    for kind, row in rows:
        plain = (_plain(told, at, kind) for at in told["cosineKinds"])
        lines.append(
            f"{visible(kind)[:17]:<18}{row['pairs']:>7}  {_cell(row, 'served'):<24}{_cell(row, 'wrong'):<24}"
            + "".join(f"{cell:<17}" for cell in plain)
        )
    lines += ["", f"precision {_cell(told, 'precision') or '-'} at recall {_percent(told['recall'])}"]
    if told["wrongLines"]:
        more = len(told["wrongLines"]) - MOST_LINES
        shown = ", ".join(map(str, told["wrongLines"][:MOST_LINES]))
        lines.append(f"wrong: line {shown}{f' and {more} more (all with --json)' if more > 0 else ''}")
    lines.append(f"refused by: {_often(told['refused']) or 'nothing'}")
    if told["leftOut"]:
        lines.append(f"not looked at by the gateway, though counted here: {_often(told['leftOut'])}")
    lines.append("")
    for title, name in (("similarity", "curve"), ("score", "scores"), ("cosine alone", "cosine")):
        if told[name]:
            lines.append(f"{title:<14}" + "".join(f"{point['threshold']:>7.2f}" for point in told[name]))
            lines += [
                f"{'  ' + what:<14}" + "".join(f"{_percent(point[what]):>7}" for point in told[name])
                for what in ("served", "wrong")
            ]
    return "\n".join(lines)


def _outcome(outcome: Outcome) -> dict[str, Any]:
    shares = {"served": outcome.served, "wrong": outcome.wrong, "precision": outcome.precision}
    return {
        "pairs": outcome.served.of + outcome.wrong.of,
        **{name: rounded(share.value) for name, share in shares.items()},
        "recall": rounded(outcome.served.value),
        "intervals": {name: _bounds(share) for name, share in shares.items()},
    }


def _often(times: Mapping[str, int]) -> str:
    return ", ".join(f"{why} {number}" for why, number in sorted(times.items(), key=lambda item: -item[1]))


def _asked(asked: dict[str, Any]) -> str:
    tokens = f"{asked['tokens']} tokens" if asked["tokens"] else "it says no tokens"
    return (
        f"asked upstream {asked['upstream']} for vectors of {asked['texts']} texts, in {asked['calls']} calls: {tokens}"
    )


def _bounds(share: Share) -> list[float] | None:
    return None if share.interval is None else [round(bound, 4) for bound in share.interval]


def _why(pair: Judged, limits: Limits) -> str:
    if pair.similarity < limits.least_similarity:
        return "threshold"
    return pair.guard if limits.guards and pair.guard is not None else "verifier"


def _cell(row: dict[str, Any], what: str) -> str:
    bounds = row["intervals"][what]
    return "" if row[what] is None else f"{_percent(row[what])} [{_percent(bounds[0])}, {_percent(bounds[1])}]"


def _plain(told: dict[str, Any], at: str, kind: str) -> str:
    if kind == "all":
        point = next(point for point in told["cosine"] if point["threshold"] == float(at))
    else:
        point = told["cosineKinds"][at][kind]
    return " / ".join(_percent(point[what]) for what in ("served", "wrong") if point[what] is not None)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share * 100:.1f}%"
