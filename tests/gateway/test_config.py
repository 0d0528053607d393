"""Reading configuration: strict, every error at once, each with its path and what to write instead."""

import contextlib
import random
from typing import Any, get_args

import pytest
import yaml

from llmcache_gateway.config import LLMCache, byte_count, gateway_config, load_config, parts_for_the_operator, seconds
from llmcache_gateway.config.gateway import GatewayConfig
from llmcache_gateway.config.manifest import WITHOUT_TURNS
from llmcache_gateway.config.policy import DialectName
from llmcache_gateway.dialects import dialect_of
from llmcache_gateway.errors import ConfigError

HEAD = "apiVersion: llmcache.dev/v1alpha1\nkind: LLMCache\nmetadata: {name: c}\n"
GOOD = HEAD + "spec: {upstreams: [{name: e, provider: echo}], prefix: {version: v1}}"


def errors(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(text)
    return [str(problem) for problem in caught.value.problems]


def spec_errors(spec: str) -> list[str]:
    return errors(f"{HEAD}spec: {{upstreams: [{{name: e, provider: echo}}], prefix: {{version: v1}}, {spec}}}")


@pytest.mark.parametrize(
    ("text", "value"),
    [("60s", 60), ("500ms", 0.5), ("1h30m", 5400), ("7d", 604800), ("1.5h", 5400), ("0s", 0)],
)
def test_durations(text: str, value: float) -> None:
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "-5s", "5S", "1h-5m", "5w"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        seconds(text)


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("10k", 10_000), ("1Ki", 1024), ("1.5Mi", 1_572_864)])
def test_byte_quantities(text: str, value: int) -> None:
    assert byte_count(text) == value


def test_dialects_without_turns_are_known() -> None:
    google = "/v1/projects/p/locations/l/publishers/google/models/m"
    said: list[dict[str, Any]] = [{"role": "user", "content": "x"}]
    parts = {"role": "user", "parts": [{"text": "x"}]}
    blocks = {"messages": [{"role": "user", "content": [{"text": "x"}]}]}
    asked: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": {"messages": said}, "/v1/completions": {"prompt": "x"},
        "/v1/embeddings": {"input": "x"}, "/v1/responses": {"input": said}, "/v1/messages": {"messages": said},
        "/v1beta/models/m:generateContent": {"contents": [parts]}, "/v1beta/models/m:embedContent": {"content": parts},
        f"{google}:generateContent": {"contents": [parts]}, f"{google}:embedContent": {"content": parts},
        "/model/m/converse": blocks, "/model/m/invoke": blocks | {"model": "amazon.nova-lite-v1:0"},
    }  # fmt: skip
    known = {one.name: one.last_turn(body) for path, body in asked.items() if (one := dialect_of("POST", path))}

    assert known.keys() == set(get_args(DialectName))
    assert {name for name, turn in known.items() if turn is None} == set(WITHOUT_TURNS)


def test_every_error_of_a_file_is_reported_at_once() -> None:
    text = HEAD.replace("name: c", "name: Bad_Name") + (
        "spec:\n"
        "  upstream: []\n"
        "  upstreams:\n"
        "    - {name: a, provider: openai, timeout: 60, credential: {}}\n"
        "    - {name: b, provider: ech}\n"
        "  prefix: {}\n"
        "  cache: {ttl: soon, mode: true}\n"
        "  limits: {entryBytes: 0Mi}\n"
        "  gateway: {replicas: -1, resources: {requests: {gpu: '1'}}}\n"
    )
    found = errors(text)
    assert [line.split(":")[0] for line in found] == [
        "metadata.name",
        "spec.upstream",
        "spec.upstreams[0].credential",
        "spec.upstreams[0].timeout",
        "spec.upstreams[1].provider",
        "spec.prefix.version",
        "spec.cache.mode",
        "spec.cache.ttl",
        "spec.limits.entryBytes",
        "spec.gateway.replicas",
        "spec.gateway.resources.requests.gpu",
    ]
    assert "did you mean 'upstreams'?" in found[1]
    assert "such as 60s or 1h30m" in found[3]
    assert "expected one of openai, deepseek, " in found[4]
    assert ", bedrock, echo, not 'ech'" in found[4]


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ("cache: {store: {type: redis}}", "spec.redis: this store type needs a Redis"),
        ("redis: {managed: {}}", "spec.redis: this store does not use Redis"),
        ("cache: {store: {type: tiered}}, redis: {}", "spec.redis: set exactly one of managed or external"),
        ("cache: {store: {l2: {}}}", "spec.cache.store.l2: l2 belongs to store type tiered"),
        ("cache: {store: {type: redis, l1: {}}}, redis: {managed: {}}", "spec.cache.store.l1: store type redis keeps"),
        ("cache: {ttl: 0s}", "spec.cache.ttl: ttl must be longer than zero"),
        ("cache: {ttl: null}", "spec.cache.ttl: expected a duration, such as 60s or 1h30m or 7d, not nothing"),
        ('cache: {ttl: "1h\\n"}', "spec.cache.ttl: '1h\\n' ends with a line break"),
        ("cache: nothing", "spec.cache: expected an object with fields, not 'nothing'"),
        (
            "cache: {store: {type: tiered}}, redis: {external: {url: 'redis://u:p@h/0'}}",
            "spec.redis.external.url: expected an address without user and password, such as redis://",
        ),
        (
            "gateway: {replicas: '2'}",
            "spec.gateway.replicas: expected a whole number of at least 0 and at most 1000, not '2'",
        ),
        (
            "gateway: {replicas: -1}",
            "spec.gateway.replicas: expected a whole number of at least 0 and at most 1000, not -1",
        ),
        ("cache: {storeAlso: truncated}", "spec.cache.storeAlso: expected a list of at most 4 items, not 'truncated'"),
        (
            "gateway: {podTemplate: {spec: {nodeSelektor: {a: b}}}}",
            "spec.gateway.podTemplate.spec.nodeSelektor: unknown field; did you mean 'nodeSelector'?",
        ),
        (
            "gateway: {podTemplate: {spec: {$patch: replace}}}",
            "spec.gateway.podTemplate.spec.$patch: unknown field; known fields: activeDeadlineSeconds, affinity, ",
        ),
        ("monitoring: {labels: x}", "spec.monitoring.labels: expected an object with fields of at most 16 items"),
    ],
)
def test_contradictions_say_what_to_write_instead(spec: str, error: str) -> None:
    assert any(line.startswith(error) for line in spec_errors(spec)), spec_errors(spec)


@pytest.mark.parametrize(
    ("upstream", "error"),
    [
        ("{name: a, provider: openai}", "spec.upstreams[0].baseURL: baseURL is required"),
        ("{name: a, provider: echo, baseURL: 'http://x'}", "spec.upstreams[0]: the echo provider is built in"),
        ("{name: a, provider: openai, baseURL: x}", "spec.upstreams[0].baseURL: 'x' is not accepted here"),
        ("{name: a, provider: openai, baseURL: 'http://x', echo: {}}", "spec.upstreams[0].echo: echo settings"),
        ("", "spec.upstreams: expected a list of at least 1 and at most 32 items, not []"),
        ("{name: '', provider: echo}", "spec.upstreams[0].name: expected a name"),
        ("{name: a, provider: echo, models: ['']}", "spec.upstreams[0].models[0]: expected a text of at least 1"),
        ("{name: a, provider: echo}, {name: a, provider: echo}", "spec.upstreams: every upstream needs a name"),
    ],
)
def test_upstreams_are_checked(upstream: str, error: str) -> None:
    found = errors(f"{HEAD}spec: {{upstreams: [{upstream}], prefix: {{version: v1}}}}")
    assert any(line.startswith(error) for line in found), found


def test_a_broken_rule_hides_no_other() -> None:
    found = errors(
        f"{HEAD}spec: {{upstreams: [{{name: e, provider: echo, baseURL: 'http://x'}}], prefix: {{version: v1}}, "
        "cache: {ttl: 0s}, redis: {managed: {}}}"
    )
    assert [line.split(":")[0] for line in found] == ["spec.upstreams[0]", "spec.cache.ttl", "spec.redis"]


@pytest.mark.parametrize("address", ["redis://u:hunter2@h:6379/0", "https://u:hunter2@h/v1"])
def test_no_error_repeats_the_password_of_an_address(address: str) -> None:
    redis = f"cache: {{store: {{type: redis}}}}, redis: {{external: {{url: '{address}'}}}}"
    upstream = f"upstreams: [{{name: e, provider: openai, baseURL: '{address}'}}]"
    found = errors(f"{HEAD}spec: {{{upstream}, prefix: {{version: v1}}, {redis}}}")
    assert len(found) == 2
    assert "hunter2" not in "".join(found)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\na: 2", "stands twice"),
        ("a: [", "line 1, column 5: not readable as YAML: while parsing a flow node, "),
        ("a: 1\n\tb: 2", "line 2, column 1: not readable as YAML: "),
        ("spec: {}", "found: no kind"),
        ("a: !!python/object:os.system {}", "not readable as YAML"),
        ("kind: Secret", "expected one document of kind LLMCache or GatewayConfig; found: Secret"),
        ("just text", "found: no mapping"),
        ("", "found: nothing"),
        (f"{GOOD}\n---\n{GOOD}", "found 2 of them"),
        (GOOD.replace("v1alpha1", "v9"), "apiVersion: expected llmcache.dev/v1alpha1"),
        ("[" * 5000, "(document)"),
    ],
)
def test_files_that_hold_no_configuration(text: str, says: str) -> None:
    assert says in errors(text)[0]


def test_other_kinds_beside_the_manifest_are_left_to_kubectl() -> None:
    assert isinstance(load_config(f"kind: Secret\n---\n{GOOD}\n---\n"), LLMCache)


def test_a_rendered_configuration_reads_back_as_itself() -> None:
    manifest = load_config(GOOD)
    assert isinstance(manifest, LLMCache)
    config = gateway_config(manifest, None)
    again = load_config(yaml.safe_dump(config.to_dict()))
    assert isinstance(again, GatewayConfig)
    assert again == config
    assert again.revision == config.revision


def test_a_revision_changes_with_the_content_only() -> None:
    def revision(text: str) -> str:
        manifest = load_config(text)
        assert isinstance(manifest, LLMCache)
        return gateway_config(manifest, None).revision

    assert revision(GOOD) == revision(GOOD.replace("version: v1}", "version: v1}, cache: {ttl: 1h}"))
    assert revision(GOOD) != revision(GOOD.replace("version: v1}", "version: v2}"))
    assert revision(GOOD) == revision(GOOD.replace("version: v1}", "version: v1}, gateway: {replicas: 7}"))


def test_random_damage_is_an_error_and_never_a_crash() -> None:
    source = random.Random(7)
    for _ in range(500):
        text = list(GOOD)
        for _ in range(source.randint(1, 4)):
            text[source.randrange(len(text))] = source.choice(":{}[],-'\"&*!|>% \n\tax0")
        with contextlib.suppress(ConfigError):
            load_config("".join(text))


def test_a_rollout_is_named_as_a_part_for_the_operator_and_changes_nothing_of_a_gateway() -> None:
    plain = load_config(GOOD)
    staged = load_config(GOOD.replace("version: v1}", "version: v1}, rollout: {warm: {topRequests: 5}}"))
    assert isinstance(plain, LLMCache)
    assert isinstance(staged, LLMCache)
    assert (parts_for_the_operator(plain), parts_for_the_operator(staged)) == ([], ["spec.rollout"])
    assert gateway_config(staged, None) == gateway_config(plain, None)


@pytest.mark.parametrize(
    ("rollout", "error"),
    [
        ("{strategy: Canary}", "spec.rollout.canary: strategy Canary needs steps: set canary: {steps: "),
        ("{analysis: {}}", "spec.rollout.analysis: analysis has no effect with strategy Immediate: remove it, or"),
        ("{warm: {}}", "spec.rollout.warm: warm needs requests to warm with: set topRequests, such as 200"),
        ("{warm: {topRequests: 300}}", "spec.rollout: topRequests is more than the gateways keep: raise cache.hot"),
        (
            "{strategy: Canary, canary: {steps: [{percent: 5, pause: {}}]}}",
            "spec.rollout.canary.steps[0].pause: expected a duration (without pause, the step waits until a person",
        ),
    ],
)
def test_a_rollout_that_contradicts_itself_says_what_to_write_instead(rollout: str, error: str) -> None:
    found = spec_errors(f"rollout: {rollout}")
    assert any(line.startswith(error) for line in found), found


def test_a_threshold_that_is_none_is_told_its_bounds() -> None:
    assert spec_errors("semantic: {threshold: 92}") == [
        "spec.semantic.threshold: expected a number of at least 0.0 and at most 1.0, not 92"
    ]
