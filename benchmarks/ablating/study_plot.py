"""The results of a study in one picture: a panel per dataset, two bars per variant, the full recipe as a line."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.ablating.result_lines import Line
from benchmarks.ablating.results import by_variant, datasets
from benchmarks.ablating.variants import FULL

METRIC = "ndcg@20"
BARS = (("served", "served list", "tab:blue", -0.2), ("generator", "generator alone", "tab:orange", 0.2))
BAR_HEIGHT = 0.38
ROW_INCHES = 0.36
PANEL_INCHES = 7.0


def draw(lines: Sequence[Line], path: Path) -> None:
    """Draw the comparable results into a PNG; nothing is drawn without a full recipe to compare with."""
    names = datasets(lines)
    if not names:
        return
    panels = [by_variant(lines, name) for name in names]
    height = 1.6 + ROW_INCHES * max(map(len, panels))
    figure = Figure(figsize=(PANEL_INCHES * len(names), height), dpi=140, layout="constrained")
    for axes, name, grouped in zip(figure.subplots(1, len(names), squeeze=False)[0], names, panels, strict=True):
        _panel(axes, name, grouped)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _panel(axes: Axes, dataset: str, grouped: dict[str, list[Line]]) -> None:
    largest = 0.0
    for row, label, colour, offset in BARS:
        for place, lines in enumerate(grouped.values()):
            low, mean, high = extent([line["lists"][row][METRIC] for line in lines])
            largest = max(largest, high)
            axes.barh(place + offset, mean, BAR_HEIGHT, color=colour, label=None if place else label)
            axes.plot([low, high], [place + offset] * 2, color="black", linewidth=1.2, solid_capstyle="butt")
            _write(axes, f"{mean:.4f}".removeprefix("0"), high, place + offset)
        full = extent([line["lists"][row][METRIC] for line in grouped[FULL]])[1]
        axes.axvline(full, color=colour, linestyle="--", linewidth=1)
    _group_lines(axes, [lines[0]["group"] for lines in grouped.values()])
    axes.set_yticks(range(len(grouped)), list(grouped), fontsize=9)
    axes.set_ylim(len(grouped) - 0.4, -0.6)
    axes.set_xlim(0, 1.12 * largest or 1.0)
    axes.set_xlabel(f"{METRIC}, test split; {_seeds([len(lines) for lines in grouped.values()])}")
    axes.set_title(dataset, fontsize=11)
    axes.grid(visible=True, axis="x", alpha=0.25)
    axes.set_axisbelow(True)


def _write(axes: Axes, text: str, x: float, y: float) -> None:
    """A number behind the end of a bar, legible where the line of the full recipe passes."""
    behind = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}
    axes.annotate(text, (x, y), (4, 0), textcoords="offset points", va="center", fontsize=7, bbox=behind)


def _seeds(counts: Sequence[int]) -> str:
    fewest, most = min(counts), max(counts)
    if most == 1:
        return "one seed"
    counted = f"{most}" if fewest == most else f"{fewest} to {most}"
    return f"{counted} seeds, black: smallest to largest"


def _group_lines(axes: Axes, groups: Sequence[str]) -> None:
    """A thin line between the variants of one part of MMGRec and those of the next."""
    for place in range(1, len(groups)):
        if groups[place] != groups[place - 1]:
            axes.axhline(place - 0.5, color="grey", linewidth=0.6)


def extent(values: Sequence[float]) -> tuple[float, float, float]:
    """Smallest, mean, largest."""
    return min(values), statistics.fmean(values), max(values)
