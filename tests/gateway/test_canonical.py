"""The canonical form: equal bytes for equal values, and for no others."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcache_gateway.canonical import decode, encode, number
from llmcache_gateway.errors import RequestError

TEXT = st.text(st.characters(), max_size=8) | st.sampled_from(["", "s1:a", "o0:", "d1:1", "\ud800", "é", "e\u0301"])
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False).map(lambda one: number(str(one)))
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def same(left: Any, right: Any) -> bool:
    """Say whether two JSON values are one: types apart, numbers by value, members in any order."""
    if isinstance(left, bool) or isinstance(right, bool) or left is None or right is None:
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, str) or isinstance(right, str):
        return type(left) is type(right) and left == right
    if isinstance(left, dict | list) or isinstance(right, dict | list):
        return False
    return Decimal(left) == Decimal(right)


@given(JSON, JSON)
def test_different_values_have_different_bytes_and_equal_ones_equal(left: Any, right: Any) -> None:
    assert (encode(left) == encode(right)) == same(left, right)


@given(st.dictionaries(TEXT, JSON, max_size=5), st.randoms())
def test_member_order_does_not_count(members: dict[str, Any], random: Any) -> None:
    shuffled = list(members.items())
    random.shuffle(shuffled)
    assert encode(dict(shuffled)) == encode(members)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ('{"t": 1}', '{"t": 1.0}'),
        ('{"t": 100}', '{"t": 1e2}'),
        ('{"t": 0.5}', '{"t": 5E-1}'),
        ('{"t": 0}', '{"t": -0.0}'),
        ('{"t": "\\u0041"}', '{"t": "A"}'),
        ('{"t": "\\ud83d\\ude00"}', '{"t": "😀"}'),
        ('{ "a" : [ 1 , 2 ] }', '{"a":[1,2]}'),
        ("1" + "0" * 400, "1e400"),
    ],
)
def test_ways_to_write_one_value_are_one(left: str, right: str) -> None:
    assert encode(decode(left.encode())) == encode(decode(right.encode()))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ('{"stop": "xuser: y"}', '{"stop": "x", "user": "y"}'),
        ('["ab", "c"]', '["a", "bc"]'),
        ('["a", ["b"]]', '[["a"], "b"]'),
        ("1", '"1"'),
        ("1", "true"),
        ("0", "false"),
        ("null", "{}"),
        ("{}", "[]"),
        ('""', "null"),
        ("9007199254740993", "9007199254740992"),
        ("0.1", "0.10000000000000001"),
        ('"\\ud800"', '"\\ud801"'),
        ('["\\ud800", "61"]', '["\\ud800", "a"]'),
        ('["\\ud800", 1]', '["\\ud800", "31"]'),
        ('["\\ud800"]', '["eda080"]'),
        ("1e999999999", "1e999999998"),
        ("1e-5", "-1e-5"),
        ('"\\u00e9"', '"e\\u0301"'),
    ],
)
def test_different_values_are_two(left: str, right: str) -> None:
    assert encode(decode(left.encode())) != encode(decode(right.encode()))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"a": 1, "a": 2}', "stands twice"),
        (b'{"x": {"a": 1, "\\u0061": 2}}', "stands twice"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": Infinity}', "Infinity is not JSON"),
        (b'{"a": \xff}', "not valid UTF-8 (byte 6)"),
        (b'{"a": 1', "could not be parsed as JSON"),
        (b"", "could not be parsed as JSON"),
        ('{"a": 1}'.encode("utf-16"), "UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b"9" * 5000, "could not be parsed as JSON"),
    ],
)
def test_bodies_that_two_readers_could_read_differently_are_refused(body: bytes, says: str) -> None:
    with pytest.raises(RequestError, match=r".") as caught:
        decode(body)
    assert caught.value.status == 400
    assert says in caught.value.message


def test_what_is_nested_too_deeply_is_refused() -> None:
    deep: Any = 1
    for _ in range(100):
        deep = {"a": [deep]}
    encode(deep)
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(RequestError, match="nested too deeply"):
        encode(deep)


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_number_keeps_its_exact_value(one: Decimal) -> None:
    assert Decimal(decode(str(one).encode())) == one


@given(JSON)
def test_decode_reads_what_the_standard_library_writes(value: Any) -> None:
    text = json.dumps(value, default=float)
    if "Infinity" not in text:
        assert same(decode(text.encode()), json.loads(text, parse_float=Decimal))


def _escaped(letters: list[tuple[str, int]]) -> str:
    """Write a string's letters, each as it is or in one of two ways to escape it."""
    ways = (lambda one: json.dumps(one)[1:-1], lambda one: f"\\u{ord(one):04x}", lambda one: f"\\u{ord(one):04X}")
    return '"' + "".join(ways[way](letter) for letter, way in letters) + '"'


WRITTEN = st.lists(st.tuples(st.sampled_from(':ab"\\,{é'), st.integers(0, 2)), max_size=4).map(_escaped)
SPACE = st.sampled_from(["", " ", "\n\t"])
TEXTS = st.recursive(
    st.sampled_from(["1", "-0", "1.50e3", "true", "null"]) | WRITTEN,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]")
        | st.lists(st.tuples(WRITTEN, SPACE, inner), max_size=4).map(
            lambda members: "{" + ",".join(f"{name}{space}:{space}{item}" for name, space, item in members) + "}"
        )
    ),
    max_leaves=12,
)


@given(TEXTS)
def test_a_member_that_stands_twice_is_seen_however_it_and_all_around_it_is_written(text: str) -> None:
    twice = []

    def read(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) < len(pairs):
            twice.append(pairs)
        return dict(pairs)

    value = json.loads(text, object_pairs_hook=read, parse_float=Decimal)
    if not twice:
        assert same(decode(text.encode()), value)
        return
    with pytest.raises(RequestError) as caught:
        decode(text.encode())
    assert caught.value.code == "duplicate_member"


@pytest.mark.parametrize(
    "text",
    [
        '{"a": "\\u003a", "b": 1, "b": 2}',  # the colon of the one lost is made up for
        '{"a": "\\u003A\\u003a", "b": ":", "b": 2}',
        '{"a": {"b": ":"}, "a": {"b": ":"}}',
        '{"\\u0061": 1, "a": "::::"}',
    ],
)
def test_no_colon_makes_up_for_that_of_a_member_that_stands_twice(text: str) -> None:
    with pytest.raises(RequestError, match="stands twice"):
        decode(text.encode())
