"""CEL and Python judge the same manifests the same way: what kubectl apply takes, a gateway takes, and the reverse."""

import copy
import re
from collections.abc import Iterator
from typing import Any

import cel
import jsonschema
import pytest

from llmcache_gateway.config import LLMCache, problems
from llmcache_operator.crd import definition
from tests.operator.rules.accepted import ACCEPTED
from tests.operator.rules.refused import REFUSED

SCHEMA: dict[str, Any] = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


@pytest.mark.parametrize("manifest", [pytest.param(m, id=i) for i, m in ACCEPTED.items()])
def test_both_accept(manifest: dict[str, Any]) -> None:
    assert list(problems(manifest, LLMCache)) == []
    assert list(_api_server(manifest)) == []


@pytest.mark.parametrize("manifest", [pytest.param(m, id=i) for i, m in REFUSED.items()])
def test_both_refuse(manifest: dict[str, Any]) -> None:
    assert list(problems(manifest, LLMCache))
    assert list(_api_server(manifest))


@pytest.mark.parametrize("manifest", [pytest.param(m, id=i) for i, m in REFUSED.items()])
def test_a_rule_that_python_breaks_is_broken_in_cel_with_the_same_message(manifest: dict[str, Any]) -> None:
    rules = {rule["message"] for _, node in nodes(SCHEMA) for rule in node.get("x-kubernetes-validations", ())}
    broken = {problem.message for problem in problems(manifest, LLMCache)} & rules
    assert broken <= {message for _, message in _api_server(manifest)}


def test_every_rule_is_broken_by_some_manifest() -> None:
    # A duplicate upstream is caught before CEL, by the list's type, but by the same rule in a gateway.
    met = {message for manifest in REFUSED.values() for _, message in _broken_rules(SCHEMA, _defaulted(manifest))}
    told = {rule["message"] for _, node in nodes(SCHEMA) for rule in node.get("x-kubernetes-validations", ())}
    of_scalars = {message for message in told if message.startswith("expected ")}
    assert told - of_scalars <= met


def _defaulted(manifest: dict[str, Any]) -> dict[str, Any]:
    filled = copy.deepcopy(manifest)
    _fill(SCHEMA, filled)
    return filled


def _api_server(manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Do what an API server does with a new object: fill in defaults, check the schema, then the rules."""
    filled = _defaulted(manifest)
    for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(filled):
        yield error.json_path, error.message
    yield from _broken_rules(SCHEMA, filled)


def _fill(schema: dict[str, Any], value: Any) -> None:
    if isinstance(value, dict):
        for name, child in schema.get("properties", {}).items():
            if name not in value and "default" in child:
                value[name] = copy.deepcopy(child["default"])
            if name in value:
                _fill(child, value[name])
    elif isinstance(value, list):
        for item in value:
            _fill(schema.get("items", {}), item)


def _broken_rules(schema: dict[str, Any], value: Any, path: str = "self") -> Iterator[tuple[str, str]]:
    for rule in schema.get("x-kubernetes-validations", ()):
        context = cel.Context({"self": value})
        # Of Kubernetes' own library of strings, which this evaluator lacks.
        context.add_function("replace", str.replace)
        try:
            if cel.evaluate(rule["rule"], context) is not True:
                yield path, rule["message"]
        except (KeyError, ValueError, TypeError, RuntimeError):
            # A rule that meets a value of another type than its schema says: the schema has refused it already.
            yield path, "not of the schema's type"
    if isinstance(value, dict):
        for name, child in schema.get("properties", {}).items():
            if name in value:
                yield from _broken_rules(child, value[name], f"{path}.{name}")
        for name, item in value.items() if "additionalProperties" in schema else ():
            yield from _broken_rules(schema["additionalProperties"], item, f"{path}.{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _broken_rules(schema.get("items", {}), item, f"{path}[{index}]")


def nodes(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "", schema
    inner = [schema[name] for name in ("items", "additionalProperties") if name in schema]
    for child in (*schema.get("properties", {}).values(), *inner):
        yield from nodes(child)


def test_no_rule_uses_what_the_api_server_lacks() -> None:
    for _, node in nodes(SCHEMA):
        for rule in node.get("x-kubernetes-validations", ()):
            assert not re.search(r"quantity\(|url\(|oldSelf", rule["rule"])
