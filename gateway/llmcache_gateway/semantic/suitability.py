"""Which requests the semantic cache is for, and what of them must be equal. Pure."""

import re
from dataclasses import dataclass
from typing import Any, Final

from llmcache_gateway import key
from llmcache_gateway.config import Semantic
from llmcache_gateway.dialects.base import Dialect, Request
from llmcache_gateway.heads import Head
from llmcache_gateway.policy import Settings

MAX_CHARACTERS: Final = 2000
"""Longest question. In a longer text most is material, and vectors tell materials apart, not questions about one."""

TIME_WORDS: Final = re.compile(
    r"\b(?:today|tonight|now|nowadays|current(?:ly)?|latest|newest|recent(?:ly)?|yesterday|tomorrow|so far"
    r"|up[- ]to[- ]date|as of|at the moment|at present"
    r"|(?:this|last|next) (?:second|minute|hour|morning|afternoon|evening|night|day|week"
    r"|weekend|month|quarter|year|decade|spring|summer|autumn|fall|winter|monday|tuesday|wednesday|thursday|friday"
    r"|saturday|sunday)|what (?:time|day|date)|how (?:late|long ago)|(?:days|weeks|months|years|hours|minutes) ago"
    r"|news|weather|forecast|heute|jetzt|gestern|morgen|aktuell\w*|derzeit|neueste[nrs]?|gerade"
    r"|aujourd'hui|maintenant|demain|actuel\w*|hoy|ahora|ayer|mañana|actualmente|oggi|adesso|ieri|domani|attuale?"
    r"|hoje|agora|ontem|amanhã|vandaag|gisteren|morgen|dziś|teraz|сегодня|сейчас|вчера|завтра)\b"
    r"|今天|今日|现在|現在|昨天|昨日|明天|明日|最新|目前|오늘|지금|어제|내일|최신|اليوم|الآن|आज|अभी",
    re.IGNORECASE,
)
"""Words that make the answer one of the moment."""


OTHER_LETTERS: Final = re.compile(r"(?![\u1e00-\u1eff])[^\W\d_\u0000-\u024f]")
"""Letters of other scripts than Latin: small models see single letters in them, not words, and guards see nothing."""

TOOLS_WITHIN: Final = ("toolConfig", "additionalModelRequestFields")
"""Members of Converse's requests that tools stand in: its own, and those of the model's own API."""

HALVES: Final = re.compile("[\ud800-\udfff]")
"""Halves of characters, which JSON can carry, and neither models nor servers take."""

REFUSAL: Final = re.compile(
    r"\W*(?:(?:i(?:['’]m| am) (?:\w+ )?(?:sorry|afraid|unable|not able)|sorry|unfortunately|apologies"
    r"|i apologi[sz]e)\b.{0,80}\b(?:can['’]?t|cannot|can not|unable|not able|won['’]?t|don['’]?t have)"
    r"|i (?:can['’]?t|cannot|can not|won['’]?t"
    r"|(?:am|['’]m) (?:unable|not able)|must decline|don['’]?t have)\b|as an ai\b)",
    re.IGNORECASE | re.DOTALL,
)
"""How answers begin that give none."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that others may mean the same as. Two are comparable only if their scopes are equal."""

    scope: str
    text: str


def read(
    *,
    dialect: Dialect,
    request: Request,
    settings: Settings,
    semantic: Semantic,
    head: Head,
    upstream: tuple[str, ...],
    tenant: str,
    namespace: str,
    prefix: str,
    embedding: str,
) -> Asked | str:
    """Return what is asked, and its scope; or why the semantic cache is not for this request, as a stable word.

    `prefix` is the name and version of the prefix that the request belongs to, `embedding` the identity of the model.
    """
    if settings.builder is not None:  # nobody can say what of a request counts then
        return "custom-key"
    members = key.read_members(dialect, request, settings)
    turn = dialect.last_turn(members)
    if turn is None:
        return "not-text"
    reason = unsuitable(turn.text, semantic)
    if reason is not None:
        return reason
    if "tools" not in semantic.admit and _offers_tools(members):
        return "tools"
    scope = key.scope_digest(
        dialect=dialect,
        rest=turn.rest,
        settings=settings,
        head=head,
        upstream=upstream,
        tenant=tenant,
        namespace=namespace,
        prefix=prefix,
        embedding=embedding,
    )
    return Asked(scope, turn.text)


def unsuitable(text: str, semantic: Semantic) -> str | None:
    """Return why a question is none for the semantic cache, as a stable word; None if it may be one, but for tools."""
    if not text.strip():
        return "empty"
    if HALVES.search(text):
        return "not-text"
    if len(text) > MAX_CHARACTERS:
        return "too-long"
    if is_foreign(text, semantic):
        return "script"
    if "time-sensitive" not in semantic.admit and TIME_WORDS.search(text):
        return "time-sensitive"
    return None


def is_foreign(text: str, semantic: Semantic) -> bool:
    """Say whether a text has letters of a script that the embedding model is not said to know."""
    return "other-scripts" not in semantic.admit and OTHER_LETTERS.search(text) is not None


def _offers_tools(members: dict[str, Any]) -> bool:
    places = (members, *(members.get(name) for name in TOOLS_WITHIN))
    return any(isinstance(place, dict) and (place.get("tools") or place.get("functions")) for place in places)


def unfit(dialect: Dialect, request: Request, answer: object) -> str | None:
    """Return why a stored answer must be given to nobody who asked in other words, as a stable word; None if it may.

    What a policy stores although it is cut off, filtered or refused is for who asks the very same.
    """
    verdict = dialect.judge(answer, request)
    if not verdict.store:
        return verdict.reason
    text = dialect.answer_text(answer)
    if text is None:
        return "not-text-answer"
    return "refusal" if REFUSAL.match(text) else None
