"""The evaluate command: what a configuration makes of labelled pairs, as a pipeline would use it."""

import asyncio
import json
import re
import shlex
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from llmcache_gateway.evaluate.measure import Judged, Share, configured, count, curve
from llmcache_gateway.main import main
from tests.gateway.conftest import by_hand, manifest
from tests.gateway.provider import Provider
from tests.gateway.providers import embeddings
from tests.gateway.test_command_line import finish, start, without_package

HEAD = {
    "apiVersion": "llmcache.dev/v1alpha1",
    "kind": "LLMCache",
    "metadata": {"name": "evaluated"},
    "spec": {"upstreams": [{"name": "echo", "provider": "echo", "models": ["*"]}], "prefix": {"version": "v1"}},
}

DOCS = Path(__file__).parents[2] / "docs" / "semantic-evaluation.md"

PAIRS = [
    {"a": "How do I reset my password?", "b": "How do I reset my password", "same": 1, "kind": "near"},
    {"a": "How do I reset my password?", "b": "Which wine goes with salmon?", "same": True, "kind": "far"},
    {"a": "Is a dose of 5 mg safe?", "b": "Is a dose of 50 mg safe?", "same": False, "kind": "number"},
    {"a": "How do I boil an egg?", "b": "How do I boil the egg?", "same": 0},
]


def write(folder: Path, semantic: dict[str, Any], lines: list[Any], **spec: Any) -> list[str]:
    config, pairs = folder / "llmcache.yaml", folder / "pairs.jsonl"
    config.write_text(yaml.safe_dump({**HEAD, "spec": {**HEAD["spec"], "semantic": semantic, **spec}}))  # type: ignore[dict-item]
    pairs.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return ["evaluate", "--config", str(config), "--pairs", str(pairs)]


def run(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


PLAIN = {"enabled": True, "verifier": "none", "threshold": 0.9}


def test_json_says_what_is_served_and_what_is_wrong_by_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*write(tmp_path, PLAIN, PAIRS), "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert (told["pairs"], told["served"], told["wrong"]) == (4, 0.5, 0.5)
    assert (told["precision"], told["recall"]) == (0.5, 0.5)
    assert (told["policy"], told["verifier"], told["score"], told["asked"]) == (None, "none", None, None)
    assert {kind: (one["served"], one["wrong"]) for kind, one in told["kinds"].items()} == {
        "far": (0.0, None),
        "near": (1.0, None),
        "number": (None, 0.0),
        "other": (None, 1.0),
    }
    assert told["refused"] == {"threshold": 1, "number": 1}
    assert told["wrongLines"] == [1 + next(at for at, pair in enumerate(PAIRS) if "kind" not in pair)]
    low, high = told["intervals"]["wrong"]
    assert 0 <= low < 0.5 < high <= 1
    assert [point["threshold"] for point in told["curve"]] == sorted(point["threshold"] for point in told["curve"])
    assert told["threshold"] in [point["threshold"] for point in told["curve"]]
    assert told["scores"] == []
    assert set(told["cosineKinds"]) == {"0.80", "0.90", "0.95"}
    assert told["cosineKinds"]["0.90"]["number"]["wrong"] == 1.0


def test_json_prints_the_fields_that_the_docs_promise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*write(tmp_path, {"enabled": True}, PAIRS), "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    _, _, after = DOCS.read_text().partition("### What `--json` prints")
    rows = {row.split("|")[1]: row for row in after.partition("\n## ")[0].splitlines() if row.startswith("| `")}
    assert {name for fields in rows for name in re.findall(r"`(\w+)`", fields)} == told.keys()
    (of_kinds,) = [row for row in rows.values() if row.startswith("| `kinds`")]
    assert set(re.findall(r"`(\w+)`", of_kinds)) == {"kinds", "other"} | told["kinds"]["near"].keys()
    assert told["kinds"]["near"]["intervals"].keys() == {"served", "wrong", "precision"}
    for name in ("curve", "scores", "cosine"):
        assert told[name][0].keys() == {"threshold", "served", "wrong", "precision"}


def test_the_table_shows_the_same_to_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(write(tmp_path, PLAIN, PAIRS)) == 0

    printed = capsys.readouterr().out
    assert "4 pairs, similarity from 0.90, guards" in printed
    assert re.search(r"precision 50\.0% \[[0-9.]+%, [0-9.]+%\] at recall 50\.0%", printed)
    assert "refused by: threshold 1, number 1" in printed
    assert re.search(r"^wrong: line \d$", printed, re.MULTILINE)
    assert "cosine alone" in printed


def test_the_tables_columns_stay_apart_when_all_is_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(write(tmp_path, {**PLAIN, "guards": False}, [PAIRS[0], PAIRS[2]])) == 0

    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("all "))
    cells = re.split(r"\s{2,}", row.strip())
    assert len(cells) == 7, row  # the kind, pairs, served, wrong and three of cosine alone
    assert [cell.split(" ")[0] for cell in cells[2:4]] == ["100.0%", "100.0%"]


def test_a_share_of_wrong_answers_above_the_allowed_one_fails_a_pipeline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = write(tmp_path, PLAIN, PAIRS)

    assert run([*arguments, "--max-wrong", "0.4"]) == 1
    assert "wrong: 50.00%, and --max-wrong allows 40.00%" in capsys.readouterr().err
    assert run([*arguments, "--max-wrong", "50%"]) == 0


def test_guards_and_threshold_of_the_configuration_are_obeyed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*write(tmp_path, {**PLAIN, "guards": False}, PAIRS), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["wrong"] == 1.0

    assert run([*write(tmp_path, {**PLAIN, "threshold": 1.0}, PAIRS), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["refused"] == {"threshold": 4}


def test_the_curve_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "curve.png"

    assert run([*write(tmp_path, PLAIN, PAIRS), "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG\r\n")

    assert run([*write(tmp_path, PLAIN, PAIRS), "--plot", str(tmp_path / "missing" / "curve.png")]) == 2
    assert "can't be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("no json", "line 2: JSON is malformed"),
        ('{"a": "x", "b": "y"}', "line 2: Object missing required field `same`"),
        ('{"a": "x", "b": "y", "same": 2}', "line 2: same is 2; it is true or false, 1 or 0"),
        ('{"a": "x", "b": 3, "same": 1}', "line 2: Expected `str`, got `int`"),
        ('{"a": "", "b": "y", "same": 1}', "line 2: a is empty"),
        ('{"a": "x", "b": "y", "same": 1, "label": 1}', "line 2: Object contains unknown field `label`"),
    ],
)
def test_a_line_that_is_no_pair_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, complaint: str
) -> None:
    assert run(write(tmp_path, PLAIN, [PAIRS[0], line])) == 2
    assert complaint in capsys.readouterr().err


def test_a_file_of_another_form_is_read_or_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(write(tmp_path, PLAIN, ["\ufeff" + json.dumps(PAIRS[0]), PAIRS[2]])) == 0
    capsys.readouterr()

    assert run(write(tmp_path, PLAIN, ["[", *(json.dumps(pair) + "," for pair in PAIRS), "]"])) == 2
    assert capsys.readouterr().err.count("line") == 2  # "line 1: a list; write one JSON object a line"


async def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    command = shlex.join([sys.executable, "-m", "llmcache_gateway.main", *write(tmp_path, PLAIN, PAIRS)])
    shell = await asyncio.create_subprocess_shell(f"{command} | true; echo ended", stdout=PIPE, stderr=PIPE)

    assert await finish(shell) == (0, "ended\n", "")


def test_what_there_is_nothing_to_evaluate_in_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(write(tmp_path, PLAIN, [])) == 2
    assert "holds no pair" in capsys.readouterr().err

    assert run(write(tmp_path, {"enabled": False}, PAIRS)) == 2
    assert "spec.semantic.enabled: is not true" in capsys.readouterr().err

    assert run([*write(tmp_path, PLAIN, PAIRS)[:-1], str(tmp_path / "missing.jsonl")]) == 2
    assert "can't be read" in capsys.readouterr().err

    assert run([*write(tmp_path, PLAIN, PAIRS), "--max-wrong", "4"]) == 2
    assert "write 0.04 or 4%" in capsys.readouterr().err


def test_intervals_hold_for_small_numbers() -> None:
    assert Share(0, 0).interval is None
    low, high = Share(0, 50).interval or (1, 0)
    assert low == 0
    assert 0.06 < high < 0.08


def test_a_curve_falls_as_its_threshold_rises() -> None:
    pairs = [
        Judged(at, at % 3 > 0, "k", at / 100, "name" if at % 7 == 0 else None, at % 7 == 0, at / 100)
        for at in range(100)
    ]

    points = curve(pairs, [0.0, 0.5, 0.9], lambda least: configured(least, 0.2, guards=True))

    served = [point["served"] for point in points]
    assert served == sorted(served, reverse=True)  # type: ignore[type-var]
    assert count(pairs, configured(0.0, None, guards=False)).wrong.value == 1.0


def test_pairs_that_the_gateway_would_not_look_at_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    late = {"a": "What is the latest version?", "b": "What is the newest version?", "same": True}
    arguments = write(tmp_path, PLAIN, [*PAIRS, late], policies=[FAQ | {"semantic": {"admit": ["time-sensitive"]}}])

    assert run([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["pairs"], told["leftOut"]) == (5, {"time-sensitive": 1})

    assert run(arguments) == 0
    assert "not looked at by the gateway, though counted here: time-sensitive 1" in capsys.readouterr().out

    assert run([*arguments, "--policy", "faq", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["leftOut"] == {}


def test_a_bound_that_nothing_could_break_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*write(tmp_path, PLAIN, PAIRS[:2]), "--max-wrong", "4%"]) == 2
    assert "--max-wrong: no pair in " in capsys.readouterr().err


FAQ = {"name": "faq", "match": {"models": ["faq-*"]}, "semantic": {"threshold": 1.0}}
STRICT = {"name": "strict", "match": {"models": ["x-*"]}, "semantic": {"enabled": True, "guards": False}}
OFF = {"name": "code", "match": {"models": ["*-code"]}, "semantic": {"enabled": False}}
PLAIN_CACHE = {"name": "long", "match": {"models": ["l-*"]}, "cache": {"ttl": "24h"}}


def test_a_policy_is_evaluated_with_its_own_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = write(tmp_path, PLAIN, PAIRS, policies=[OFF, FAQ, PLAIN_CACHE])

    assert run([*arguments, "--policy", "faq", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["policy"], told["threshold"], told["served"]) == ("faq", 1.0, 0.0)

    assert run([*arguments, "--policy", "long"]) == 0
    assert "4 pairs by policy long, similarity from 0.90" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("semantic", "policies", "arguments", "complaint"),
    [
        (PLAIN, [OFF, FAQ], ["--policy", "fqa"], "--policy: no policy has the name 'fqa'; there are code, faq"),
        (PLAIN, [], ["--policy", "faq"], "--policy: no policy has the name 'faq'; there is none: leave it out"),
        (PLAIN, [FAQ, OFF], ["--policy", "code"], "spec.policies[1].semantic.enabled: is not true for this policy"),
        (
            PLAIN | {"enabled": False},
            [OFF, STRICT, FAQ],
            [],
            "spec.semantic.enabled: is not true, but for some policies it is: name one by --policy: strict",
        ),
    ],
)
def test_a_policy_that_cannot_be_evaluated_names_those_that_can(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    semantic: dict[str, Any],
    policies: list[Any],
    arguments: list[str],
    complaint: str,
) -> None:
    assert run([*write(tmp_path, semantic, PAIRS, policies=policies), *arguments]) == 2
    assert complaint in capsys.readouterr().err


def test_a_policy_that_alone_has_it_on_is_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = write(tmp_path, PLAIN | {"enabled": False}, PAIRS, policies=[STRICT])

    assert run([*arguments, "--policy", "strict", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["guards"] is False


def with_upstream(folder: Path, provider: Provider, lines: list[Any], **credential: Any) -> list[str]:
    upstream = {"name": "vectors", "provider": "openai", "baseURL": provider.base_url, "timeout": "20s"}
    other = upstream | {"name": "other", "credential": {"env": "NOT_SET"}}
    embedding = {"upstream": "vectors", "model": "embed-9", "dimensions": 8}
    semantic = PLAIN | {"embedding": embedding}
    return write(folder, semantic, lines, upstreams=[other, upstream | {"credential": credential}])


async def test_vectors_of_an_upstream_are_asked_for_as_the_gateway_asks(tmp_path: Path, provider: Provider) -> None:
    provider.behave = embeddings.BEHAVIOUR
    lines = [{"a": f"Question {at}?", "b": f"Question {at + 1}?", "same": False} for at in range(300)]
    arguments = with_upstream(tmp_path, provider, lines, secretRef={"name": "openai", "key": "api-key"})
    (tmp_path / "openai").mkdir()
    (tmp_path / "openai" / "api-key").write_text("sk-vectors\n")

    status, out, err = await finish(await start(*arguments, "--secrets", str(tmp_path), "--json"))

    assert (status, err) == (0, "")
    texts = [text for call in provider.calls for text in call["body"]["input"]]
    assert sorted(texts) == sorted(f"Question {at}?" for at in range(301))  # each once
    for call in provider.calls:
        assert (call["path"], call["headers"]["Authorization"]) == ("/v1/embeddings", "Bearer sk-vectors")
        assert (call["body"]["model"], call["body"]["dimensions"]) == ("embed-9", 8)
        assert len(call["body"]["input"]) <= 64
    assert len(provider.calls) < 12
    told = json.loads(out)
    assert told["asked"] == {"upstream": "vectors", "calls": len(provider.calls), "texts": 301, "tokens": 602}
    assert told["model"].startswith("upstream:vectors:openai:http://")

    status, out, err = await finish(await start(*arguments, "--secrets", str(tmp_path)))
    assert out.startswith("asked upstream vectors for vectors of 301 texts, in ")
    assert "602 tokens" in out.splitlines()[0]


@pytest.mark.parametrize(
    ("status", "body", "complaint"),
    [
        (
            404,
            '{"error": {"message": "no model\\nembed-9"}}',
            'answered 404 for vectors: {"error": {"message": "no model',
        ),
        (401, '{"error": {"message": "wrong key sk-vectors"}}', "answered 401 for vectors\n"),
        (200, '{"data": []}', "gave an answer without vectors"),
    ],
)
async def test_an_upstream_without_vectors_ends_it_with_what_was_said(
    tmp_path: Path, provider: Provider, status: int, body: str, complaint: str
) -> None:
    async def behave(request: web.Request) -> web.Response:
        return web.Response(status=status, text=body, content_type="application/json")

    provider.behave = behave
    arguments = with_upstream(tmp_path, provider, PAIRS, env="VECTORS_KEY")

    ended, out, err = await finish(await start(*arguments, VECTORS_KEY="sk-vectors"))

    assert (ended, out) == (2, "")
    assert err.startswith("spec.semantic.embedding: upstream 'vectors' ")
    assert complaint in err
    assert "sk-vectors" not in err
    assert "Traceback" not in err


async def test_a_missing_credential_of_the_upstream_that_is_asked_is_named(tmp_path: Path, provider: Provider) -> None:
    arguments = with_upstream(tmp_path, provider, PAIRS, env="VECTORS_KEY")

    status, _, err = await finish(await start(*arguments))

    assert (status, err) == (
        2,
        "spec.upstreams[1].credential.env: the environment variable VECTORS_KEY is not set: export the key in it\n",
    )


async def test_a_plot_that_cannot_be_drawn_is_refused_before_anything_is_asked(
    tmp_path: Path, provider: Provider
) -> None:
    provider.behave = embeddings.BEHAVIOUR
    arguments = with_upstream(tmp_path, provider, PAIRS, env="VECTORS_KEY")
    without = without_package(tmp_path, "matplotlib")

    status, _, err = await finish(
        await start(*arguments, "--plot", str(tmp_path / "curve.png"), VECTORS_KEY="k", PYTHONPATH=without)
    )

    assert (status, err) == (2, "--plot: needs matplotlib; install the extra `plot`\n")
    assert not provider.calls


@pytest.mark.parametrize("named", ["main", "other"])
def test_a_gateways_own_configuration_is_evaluated_and_an_upstream_that_makes_no_vectors_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], named: str
) -> None:
    arguments = write(tmp_path, PLAIN, PAIRS)
    config = by_hand(manifest(None, semantic=PLAIN))
    (tmp_path / "llmcache.yaml").write_text(yaml.safe_dump(config))
    assert run(arguments) == 0

    config["spec"]["semantic"] = PLAIN | {"embedding": {"upstream": named, "model": "m"}}  # rules are the manifest's
    (tmp_path / "llmcache.yaml").write_text(yaml.safe_dump(config))
    assert run(arguments) == 2
    assert "spec.semantic.embedding.upstream: must name an upstream of provider openai, " in capsys.readouterr().err


DATA = Path(__file__).parent / "data"


@pytest.mark.parametrize(
    ("verifier", "file", "served", "most_wrong"),
    [
        ("small", "question-pairs-blind", 0.55, "2%"),
        ("small", "question-pairs", 0.71, "2.5%"),
        ("large", "question-pairs-blind", 0.58, "2.5%"),
        ("large", "question-pairs", 0.67, "3.5%"),
    ],
)
def test_what_comes_with_the_gateway_keeps_its_word_on_pairs_it_was_not_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verifier: str, file: str, served: float, most_wrong: str
) -> None:
    """The figures of docs/semantic-evaluation.md, with room for another processor's rounding."""
    arguments = write(
        tmp_path, {"enabled": True, "verifier": verifier}, (DATA / f"{file}.jsonl").read_text().splitlines()
    )

    assert run([*arguments, "--json", "--max-wrong", most_wrong]) == 0

    told = json.loads(capsys.readouterr().out)
    assert told["served"] >= served
    for kind, one in told["kinds"].items():
        if one["wrong"] is not None and one["pairs"] >= 40:
            assert one["wrong"] <= 0.08, kind
    cosine = {point["threshold"]: point for point in told["cosine"]}
    assert cosine[0.9]["wrong"] > 4 * told["wrong"]
