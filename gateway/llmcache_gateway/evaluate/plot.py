"""The curve of an evaluation as a picture. The one module that imports matplotlib, which may be missing."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def plot(told: dict[str, Any], file: Path) -> None:
    """Draw served over wrong, of the configuration at each threshold and of cosine alone. OSError if it can't write."""
    figure = Figure(figsize=(7.0, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for name, label in (("cosine", "cosine alone"), ("curve", "by similarity"), ("scores", "by verifier's score")):
        points = [point for point in told[name] if point["served"] is not None and point["wrong"] is not None]
        if points:
            axes.plot([100 * p["wrong"] for p in points], [100 * p["served"] for p in points], marker=".", label=label)
    if told["served"] is not None and told["wrong"] is not None:
        axes.plot([100 * told["wrong"]], [100 * told["served"]], "k*", markersize=14, label="as configured")
    axes.set_xlabel("different questions answered wrongly, %")
    axes.set_ylabel("same questions served, %")
    axes.set_ylim(0, 100)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, format="png", dpi=120)
