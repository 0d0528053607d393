"""What others make of an LLMCache's status: kstatus (Flux, helm --wait), and Argo CD by the Lua that it is given."""

import json
import subprocess
from functools import cache
from typing import Any

import msgspec
import pytest
from lupa import lua51

from llmcache_gateway.config import Rollout
from llmcache_operator import argocd
from llmcache_operator.rollout.steer import ANNOTATION, VERBS, steer
from llmcache_operator.rollout.turn import Asked, Seen, Step
from tests.operator.life import CANARY, in_canary
from tests.operator.situations import EXPECTED, NOW, SITUATIONS, llmcache, state
from tests.programs import KSTATUS, built

situations = pytest.mark.parametrize("situation", SITUATIONS)


@cache
def _kstatus(program: str) -> dict[str, str]:
    objects = "".join(f"{json.dumps(make())}\n" for make in SITUATIONS.values())
    told = subprocess.run([program], input=objects, capture_output=True, text=True, check=True, timeout=30).stdout
    return dict(zip(SITUATIONS, (json.loads(line)["status"] for line in told.splitlines()), strict=True))


def _lua(script: str, given: dict[str, Any]) -> dict[str, Any]:
    """Run a script on an object, as Argo CD does: Lua 5.1, the object as `obj`, plain data as its answer."""
    runtime = lua51.LuaRuntime(register_eval=False, register_builtins=False)
    runtime.globals()["obj"] = runtime.table_from(given, recursive=True)
    answer: dict[str, Any] = _plain(runtime.execute(script))
    return answer


def _plain(value: Any) -> Any:
    if lua51.lua_type(value) != "table":
        return value
    if list(value.keys()) == list(range(1, len(value) + 1)) and len(value):
        return [_plain(item) for item in value.values()]
    return {key: _plain(item) for key, item in value.items()}


def _offered(given: dict[str, Any]) -> tuple[str, ...]:
    found = _lua(argocd.discovery(), given)
    assert sorted(found) == sorted(VERBS)
    return tuple(sorted(name for name, action in found.items() if not action["disabled"]))


def test_every_situation_is_judged() -> None:
    assert list(EXPECTED) == list(SITUATIONS)


@situations
def test_kstatus(situation: str) -> None:
    assert _kstatus(built(KSTATUS))[situation] == EXPECTED[situation][0]


@situations
def test_argo_cd_shows_its_health(situation: str) -> None:
    shown = _lua(argocd.health(), SITUATIONS[situation]())
    assert shown["status"] == EXPECTED[situation][1]
    assert isinstance(shown["message"], str)


def test_argo_cd_says_why() -> None:
    shown = _lua(argocd.health(), SITUATIONS["a version was aborted"]())
    assert shown["message"].startswith("RolloutAborted: v2 was aborted at 5%: 30 of 30 misses failed")
    assert "/20 requests" in _lua(argocd.health(), SITUATIONS["a canary waits for a person"]())["message"]


@situations
def test_argo_cd_offers_what_a_person_can_do(situation: str) -> None:
    assert _offered(SITUATIONS[situation]()) == EXPECTED[situation][2]


@situations
def test_what_argo_cd_offers_is_obeyed_and_nothing_else_would_be(situation: str) -> None:
    given = SITUATIONS[situation]()
    before = state(given)
    if before is None or given["status"]["observedGeneration"] != given["metadata"]["generation"]:
        return
    asked = Asked("demo", before.prefix.target, msgspec.convert(CANARY, Rollout))

    def obeyed(verb: str) -> bool:
        done = Step(before)
        said = _lua(argocd.action(verb), given)["metadata"]["annotations"][ANNOTATION]
        steer(done, asked, Seen(everywhere=True, annotation=said), NOW)
        return "AnnotationIgnored" not in [note.reason for note in done.notes]

    assert _offered(given) == tuple(sorted(filter(obeyed, VERBS)))


def test_an_action_changes_nothing_but_its_annotation() -> None:
    given = SITUATIONS["a version is a canary"]()
    given["metadata"]["annotations"] = {"example.com/team": "ai"}
    changed = _lua(argocd.action("pause"), given)
    assert changed["metadata"].pop("annotations") == {"example.com/team": "ai", ANNOTATION: "pause@v2"}
    del given["metadata"]["annotations"]
    assert (changed["metadata"], changed["spec"]) == (given["metadata"], given["spec"])


def test_the_same_action_again_is_another_order() -> None:
    steps = {"canary": {"steps": [{"percent": percent} for percent in (5, 50, 75)]}}
    life, said, seen = in_canary(**steps), "", []
    for _ in range(3):
        given = llmcache(life.state)
        given["metadata"]["annotations"] = {ANNOTATION: said}
        said = _lua(argocd.action("promote"), given)["metadata"]["annotations"][ANNOTATION]
        seen.append((life.look(2, annotation=said).at, said))
    assert seen == [(("Canary", 2), "promote@v2"), (("Canary", 3), "promote"), (("Retaining", 0), "promote@v2")]


def test_an_action_on_what_nobody_has_looked_at_says_so() -> None:
    with pytest.raises(lua51.LuaError, match="yet to look at it"):
        _lua(argocd.action("promote"), SITUATIONS["nobody has looked at it"]())
