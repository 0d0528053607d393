"""The pages name what is there: files, headings, fields, metrics, options of the commands."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from prometheus_client import CollectorRegistry

from llmcache_gateway.main import main as gateway
from llmcache_gateway.metrics import Metrics as GatewayMetrics
from llmcache_operator.crd import definition
from llmcache_operator.main import main as operator
from llmcache_operator.metrics import Metrics as OperatorMetrics
from llmcache_operator.rollout.state import Phase, Reason

ROOT = Path(__file__).parents[1]
FOLDERS = ("bench", "charts", "crds", "docs", "e2e", "examples", "gateway", "operator", "scripts", "tests", "training")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
KINDS = {
    "Counter": "_total",
    "Tally": "_total",
    "Gauge": "",
    "Balance": "",
    "Histogram": "",
    "TimeTally": "",
    "Reading": "",
}
"""What makes a metric, and what /metrics adds to its name."""

TARGET_LABELS = ("namespace", "service")
"""Labels that Prometheus adds to what it reads."""

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def anchors(page: Path) -> set[str]:
    """Return what a link can name behind `#`: the headings, as they are shown on the web."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@each_page
def test_paths_are_there(page: Path) -> None:
    named = re.findall(rf"(?<![\w/.*-])((?:{'|'.join(FOLDERS)})/[\w./*-]*[\w*])", page.read_text())
    assert [name for name in named if not any(ROOT.glob(name))] == []


def test_each_example_is_named_on_a_page() -> None:
    text = "".join(page.read_text() for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")))
    examples = [folder.name for folder in (ROOT / "examples").iterdir() if folder.is_dir()]
    assert [name for name in sorted(examples) if f"examples/{name}" not in text] == []


def metrics() -> Iterator[str]:
    shown = CollectorRegistry()
    GatewayMetrics(shown)
    for registry in (shown, OperatorMetrics().registry):
        for family in registry.collect():
            yield f"{family.name}_total" if family.type == "counter" else family.name


@each_page
def test_metrics_are_there(page: Path) -> None:
    packages = {"llmcache_gateway", "llmcache_operator"}
    named = re.findall(r"(?<!grep )\b(llmcache_[a-z_]+[a-z])\b(?!/)", page.read_text())
    assert set(named) - packages <= set(metrics())


@pytest.fixture(scope="module")
def labels() -> dict[str, tuple[str, ...]]:
    """Return each metric's labels by its name, from the sources: no registry tells of labels before they are used."""
    found: dict[str, tuple[str, ...]] = {}
    for source in (*ROOT.glob("gateway/**/*.py"), *ROOT.glob("operator/**/*.py")):
        for call in ast.walk(ast.parse(source.read_text())):
            match call:
                case ast.Call(ast.Name(kind), [ast.Constant(str(name)), ast.Constant(str()), *others]):
                    if kind in KINDS and name.startswith("llmcache_"):
                        found[name + KINDS[kind]] = tuple(ast.literal_eval(others[0])) if others else ()
    return found


def test_each_metric_stands_on_its_page_with_its_labels(labels: dict[str, tuple[str, ...]]) -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    rows = re.findall(r"^\| `(llmcache_\w+)(?:\{([\w,]+)\})?` \|", page, re.MULTILINE)
    assert sorted(labels) == sorted(metrics())
    assert sorted((name, tuple(filter(None, named.split(",")))) for name, named in rows) == sorted(labels.items())


@each_page
def test_metrics_have_these_labels(page: Path, labels: dict[str, tuple[str, ...]]) -> None:
    for name, named in re.findall(r"\b(llmcache_[a-z_]+[a-z])\{([^}]*)\}", page.read_text()):
        assert {one.partition("=")[0].strip() for one in named.split(",")} <= {*labels[name], *TARGET_LABELS}


def test_each_phase_and_reason_of_a_rollout_stands_on_its_page() -> None:
    rows = re.findall(r"^\| `([A-Z]\w+)` \|", (ROOT / "docs" / "rollouts.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted([*get_args(Phase), *get_args(Reason)])


def options(command: Callable[[list[str]], None], verb: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    with pytest.raises(SystemExit):
        command([verb, "--help"])
    return set(re.findall(r"--[a-z-]+", capsys.readouterr().out))


@each_page
def test_commands_have_these_options(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = page.read_text().replace("\\\n", " ")
    for program, verb, rest in re.findall(r"llmcache-(gateway|operator) ([a-z]+)\b([^\n`#;|&]*)", text):
        used = set(re.findall(r"(?<!\S)\[?(--[a-z-]+)", rest))
        if used:
            assert used <= options({"gateway": gateway, "operator": operator}[program], verb, capsys)


def unknown(value: Any, schema: dict[str, Any], path: str) -> Iterator[str]:
    """Yield the fields of a snippet that the schema does not have."""
    if isinstance(value, list):
        for one in value:
            yield from unknown(one, schema.get("items", {}), f"{path}[]")
    elif isinstance(value, dict) and "properties" in schema:
        for name, inner in value.items():
            if name in schema["properties"]:
                yield from unknown(inner, schema["properties"][name], f"{path}.{name}")
            elif "x-kubernetes-preserve-unknown-fields" not in schema:
                yield f"{path}.{name}"


@each_page
def test_snippets_have_fields_that_are_there(page: Path) -> None:
    schema = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for snippet in yaml.safe_load_all(block.replace("…", "x")):
            spec = snippet.get("spec", snippet) if isinstance(snippet, dict) else {}
            if spec.keys() & schema["properties"].keys():
                assert list(unknown(spec, schema, "spec")) == []
