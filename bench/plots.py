"""Plots of results, as PNG beside their JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH = 0.8  # of a group of bars


def axes(count: int, title: str) -> tuple[Figure, list[Axes]]:
    """A figure of so many plots side by side."""
    figure = Figure(figsize=(5.5 * count, 4.2), layout="constrained")
    figure.suptitle(title, fontsize=10)
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def bars(at: Axes, groups: Sequence[str], series: Mapping[str, Sequence[float]], label: str) -> None:
    """Bars in groups; every series has a value for each group, nan for none."""
    width = WIDTH / max(1, len(series))
    for index, (name, values) in enumerate(series.items()):
        places = [group - WIDTH / 2 + (index + 0.5) * width for group in range(len(groups))]
        at.bar(places, values, width, label=name)
    at.set_xticks(range(len(groups)), groups, rotation=20, ha="right", fontsize=8)
    at.set_ylabel(label)
    at.legend(fontsize=7)


def lines(at: Axes, xs: Sequence[float], series: Mapping[str, Sequence[float]], x: str, y: str) -> None:
    """Curves over a shared axis of powers of two."""
    for name, values in series.items():
        at.plot(xs, values, marker="o", markersize=3, label=name)
    at.set_xscale("log", base=2)
    at.set_xticks(xs, [f"{each:g}" for each in xs])
    at.set_xlabel(x)
    at.set_ylabel(y)
    at.legend(fontsize=7)


def level(at: Axes, height: float) -> None:
    """A line to compare with."""
    at.axhline(height, color="grey", linewidth=0.8, linestyle="--")


def save(figure: Figure, results: Path) -> Path:
    """Writes a figure beside its results."""
    path = results.with_suffix(".png")
    figure.savefig(path, dpi=110)
    return path
