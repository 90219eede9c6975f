"""Latency over catalogue size, all methods in one picture."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

Figures = dict[str, Any]


def draw(report: Figures, path: Path) -> None:
    """Draw a report of `benchmarks.decode` into a PNG."""
    details = report["details"]
    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = figure.subplots()
    retrieval = list(details["retrieval"]["sizes"].values())
    generate, decoder = details["generate"], list(details["catalogues"].values())
    point = [{"items": generate["items"], "generate": generate["1"]["generate"]}]
    _line(axes, point, "generate", "Hugging Face generate, T5 of as many parameters", "s", "tab:red")
    axes.axhline(point[0]["generate"]["p50_ms"], color="tab:red", linestyle=":", linewidth=1)
    _line(axes, retrieval, "flat", "embed-and-retrieve, exact (faiss flat)", "^-", "tab:orange")
    _line(axes, retrieval, "hnsw", "embed-and-retrieve, HNSW", "v-", "tab:green")
    largest = [{"items": each["items"], "decoder": each} for each in decoder if each["items"] > retrieval[-1]["items"]]
    _line(axes, retrieval + largest, "decoder", "this decoder", "o-", "tab:blue")
    setting = details["setting"]
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="catalogue (items)",
        ylabel="latency of one request, median (ms)",
        title=f"Top {setting['beams']} from a history of {setting['history']}, batch 1, one CPU thread\n"
        f"{report['machine']['cpu']}",
    )
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend()
    figure.savefig(path)


def _line(axes: Axes, rows: list[Figures], method: str, label: str, style: str, colour: str) -> None:
    measured = [row for row in rows if method in row]
    items, latency = [row["items"] for row in measured], [row[method]["p50_ms"] for row in measured]
    axes.plot(items, latency, style, color=colour, label=label)
