"""Which version a request belongs to, as a pure function."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcache_gateway.config import ConfigError, load_config
from llmcache_gateway.prefix import Prefix

TENANTS = st.text("abcdef0123456789-._", min_size=1, max_size=40)
DIGESTS = st.binary(max_size=9).map(lambda seed: hashlib.sha256(seed).hexdigest())
PERCENTS = st.integers(0, 100)


@given(TENANTS, DIGESTS, PERCENTS, PERCENTS)
def test_raising_the_share_only_moves_requests_to_the_next_version(
    tenant: str, digest: str, one: int, other: int
) -> None:
    low, high = sorted((one, other))
    if Prefix("p", "v1", "v2", low).version_of(tenant, digest) == "v2":
        assert Prefix("p", "v1", "v2", high).version_of(tenant, digest) == "v2"


@given(TENANTS, DIGESTS, PERCENTS)
def test_a_request_has_one_version_whatever_the_versions_are_called(tenant: str, digest: str, percent: int) -> None:
    chosen = Prefix("p", "v1", "v2", percent).version_of(tenant, digest)
    assert chosen in ("v1", "v2")
    assert Prefix("other", "a", "b", percent).version_of(tenant, digest) == {"v1": "a", "v2": "b"}[chosen]


@given(TENANTS, DIGESTS)
def test_none_and_all_are_exact(tenant: str, digest: str) -> None:
    assert Prefix("p", "v1").version_of(tenant, digest) == "v1"
    assert Prefix("p", "v1", "v2", 0).version_of(tenant, digest) == "v1"
    assert Prefix("p", "v1", "v2", 100).version_of(tenant, digest) == "v2"


@pytest.mark.parametrize("percent", [1, 5, 25, 50, 99])
@pytest.mark.parametrize("many", ["requests", "tenants"])
def test_the_share_is_close_to_what_is_asked_for(percent: int, many: str) -> None:
    """Over many requests of one tenant, and over many tenants that ask the same. Both are fixed: no luck in it."""
    prefix, number = Prefix("p", "v1", "v2", percent), 20_000
    names = [hashlib.sha256(str(one).encode()).hexdigest() for one in range(number)]
    pairs = [("red", name) if many == "requests" else (name[:32], names[0]) for name in names]
    share = sum(prefix.version_of(*pair) == "v2" for pair in pairs) / number
    assert abs(share - percent / 100) < 0.01


BEGINNING = """
apiVersion: llmcache.dev/v1alpha1
kind: GatewayConfig
metadata: {name: x}
spec:
  upstreams: [{name: e, provider: echo}]
"""


@pytest.mark.parametrize(
    ("following", "problem"),
    [
        ("{version: v1, percent: 5}", "spec.prefix.next.version: next is the active version already"),
        ("{version: v2, percent: 101}", "spec.prefix.next.percent: "),
        ("{version: v2, percent: 2.5}", "spec.prefix.next.percent: "),
        ("{version: v2}", "spec.prefix.next.percent: "),
        ("{version: 'a:b', percent: 5}", "spec.prefix.next.version: "),
    ],
)
def test_a_next_version_that_cannot_be_is_refused(following: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(f"{BEGINNING}  prefix: {{name: p, version: v1, next: {following}}}\n")
    assert str(caught.value).startswith(problem)


def test_a_manifest_has_no_next_version() -> None:
    manifest = BEGINNING.replace("GatewayConfig", "LLMCache")
    with pytest.raises(ConfigError, match=r"spec.prefix.next: unknown field"):
        load_config(f"{manifest}  prefix: {{version: v1, next: {{version: v2, percent: 1}}}}\n")
