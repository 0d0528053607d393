"""JSON of providers' answers: what msgspec can't read is read slowly, and still by the rules."""

import pytest

from llmcache_gateway.plainjson import dumps, loads


@pytest.mark.parametrize("text", ['["\\ud83d"]', '["\\ud83d","\\ude00"]', "[123456789012345678901234567890]", "[-1.5]"])
def test_what_is_read_is_written_as_the_same_value(text: str) -> None:
    assert dumps(loads(text.encode())).decode() == text


@pytest.mark.parametrize("text", ["[NaN]", "[-Infinity]", "[1e400]", '["\\ud83d", 1e400]', "", "{"])
def test_what_would_come_out_as_another_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        loads(text.encode())
