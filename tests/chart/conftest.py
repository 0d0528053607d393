"""What every test of the chart starts from: the chart, and a way to render it into objects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "llmcache"

Manifest = dict[str, Any]
Values = dict[str, Any]
Render = Callable[..., list[Manifest]]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def chart() -> helm_python.Chart:
    return helm_python.Chart.load(CHART)


@pytest.fixture(scope="session")
def notes(chart: helm_python.Chart) -> Callable[[Values], str]:
    def _notes(values: Values) -> str:
        return chart.render(values, name="llmcache", namespace="llmcache-system")["llmcache/templates/NOTES.txt"]

    return _notes


@pytest.fixture(scope="session")
def render(chart: helm_python.Chart) -> Render:
    """Render as `helm template NAME -n NAMESPACE` does, and return every object."""

    def _render(
        values: Values | None = None, *, name: str = "llmcache", namespace: str = "llmcache-system"
    ) -> list[Manifest]:
        files = chart.render(values or {}, name=name, namespace=namespace)
        texts = [text for path, text in files.items() if path.endswith(".yaml")]
        return [manifest for text in texts for manifest in yaml.safe_load_all(text) if manifest]

    return _render
