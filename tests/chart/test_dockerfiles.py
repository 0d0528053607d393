"""The two images' recipes: pinned, small, and run by nobody in particular."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chart.conftest import ROOT
from tests.tools import missing

PROGRAMS = ["gateway", "operator"]


def instructions(program: str) -> list[tuple[str, str]]:
    """Read a Dockerfile into (INSTRUCTION, arguments), with continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / program / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(name.upper(), " ".join(rest.split())) for name, _, rest in (line.partition(" ") for line in lines)]


def runtime_stage(program: str) -> list[tuple[str, str]]:
    everything = instructions(program)
    last = max(index for index, (name, _) in enumerate(everything) if name == "FROM")
    return everything[last:]


def locked(path: Path) -> set[tuple[str, str]]:
    return set(re.findall(r"^([\w.-]+)==(\S+)", path.read_text(), flags=re.MULTILINE))


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_base_is_pinned_by_digest_and_can_be_replaced(program: str) -> None:
    (first, base), *rest = instructions(program)
    assert first == "ARG"
    assert re.fullmatch(r"BASE=python:3\.\d+-slim@sha256:[0-9a-f]{64}", base)
    assert [arguments for name, arguments in rest if name == "FROM"] == ["${BASE} AS builder", "${BASE}"]


def test_both_images_have_one_base() -> None:
    assert instructions("gateway")[0] == instructions("operator")[0]


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_runtime_stage_only_copies_and_declares(program: str) -> None:
    stage = runtime_stage(program)
    assert {name for name, _ in stage} <= {"FROM", "ARG", "LABEL", "COPY", "ENV", "USER", "EXPOSE", "ENTRYPOINT", "CMD"}
    assert [arguments for name, arguments in stage if name == "COPY"] == ["--from=builder /opt/llmcache /opt/llmcache"]
    assert dict(stage)["USER"] == "10001:10001"
    assert dict(stage)["ENTRYPOINT"] == f'["/opt/llmcache/bin/llmcache-{program}"]'
    assert dict(stage)["EXPOSE"] == {"gateway": "4000 4001", "operator": "8081"}[program]


@pytest.mark.parametrize("program", PROGRAMS)
def test_everything_that_is_installed_is_locked_with_its_hash(program: str) -> None:
    installs = [a for name, arguments in instructions(program) if name == "RUN" for a in arguments.split("&&")]
    installs = [command for command in installs if " install " in command]
    assert len(installs) == 3
    assert all("--require-hashes" in command or "--no-index" in command for command in installs)
    assert all("--no-deps" in command for command in installs)


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_images_lock_agrees_with_the_projects(program: str) -> None:
    assert locked(ROOT / program / "requirements.lock") <= locked(ROOT / "requirements.lock"), "run make lock"


def test_the_gateways_lock_has_no_kubernetes_client() -> None:
    names = {name for name, _ in locked(ROOT / "gateway" / "requirements.lock")}
    assert "aiohttp" in names
    assert not {"kopf", "kubernetes"} & names


def test_the_gateways_image_gets_none_of_the_operators_code() -> None:
    copied = [arguments for name, arguments in instructions("gateway") if name == "COPY"]
    assert not any("operator" in arguments for arguments in copied)


def test_the_build_context_is_an_allow_list() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    copied = {
        source
        for program in PROGRAMS
        for name, arguments in instructions(program)
        if name == "COPY" and not arguments.startswith("--from")
        for source in arguments.split()[:-1]
    }
    assert {line.removeprefix("!") for line in lines if line.startswith("!")} == copied


def test_the_linter_has_nothing_to_say() -> None:
    beside_python = Path(sys.executable).with_name("hadolint")
    hadolint = str(beside_python) if beside_python.exists() else shutil.which("hadolint")
    if hadolint is None:
        missing("hadolint is not installed: run make install")
    files = [str(ROOT / program / "Dockerfile") for program in PROGRAMS]
    run = subprocess.run([hadolint, "-c", str(ROOT / ".hadolint.yaml"), *files], capture_output=True, text=True)
    assert (run.returncode, run.stdout + run.stderr) == (0, "")
