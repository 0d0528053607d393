"""A head keeps what follows from it, and nothing that follows from anything else."""

from multidict import CIMultiDict

from llmcache_gateway.freshness import Controls, read_controls
from llmcache_gateway.headers import counted
from llmcache_gateway.heads import MAX_KEPT, Head

NONE: frozenset[str] = frozenset()


def head(*headers: tuple[str, str], target: str = "/v1/chat/completions") -> Head:
    return Head("POST", target, CIMultiDict(headers))


def test_path_and_query_are_the_raw_ones() -> None:
    asked = head(target="/v1/a%2Fb?x=?&y")
    assert (asked.path, asked.query) == ("/v1/a%2Fb", "x=?&y")


def test_each_setting_of_a_key_is_given_its_own_headers_whatever_was_asked_before() -> None:
    asked = head(("X-One", "1"), ("X-Two", "2"), ("OpenAI-Beta", "b, a"), ("OpenAI-Beta", "a"))
    settings = [NONE, frozenset({"x-one"}), frozenset({"x-*"}), frozenset({"x-two", "openai-*"})]
    for _ in range(2):
        for ignore in settings:
            for flags in ((), ("openai-beta",)):
                found = asked.counted(flags, ignore)
                expected = counted(asked.headers, ignore)
                if flags and "openai-beta" in expected:
                    expected["openai-beta"] = ["a", "b"]
                assert found == expected


def test_what_a_head_keeps_is_bounded_and_beyond_that_still_right() -> None:
    asked = head(*[(f"X-{number}", "1") for number in range(2 * MAX_KEPT)])
    for number in range(2 * MAX_KEPT):
        ignore = frozenset({f"x-{number}"})
        assert asked.counted((), ignore) == counted(asked.headers, ignore)


def test_a_body_with_an_object_of_its_own_takes_nothing_from_the_next_one_without() -> None:
    asked = head(("Cache-Control", "max-age=5"))
    for _ in range(2):
        assert asked.controls(None) == read_controls(asked.headers, None) == Controls(max_age=5.0)
        assert asked.controls({"no-store": True}) == Controls(max_age=5.0, no_store=True)
        assert asked.controls({"namespace": "n"}).namespace == "n"
