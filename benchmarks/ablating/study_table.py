"""The results of a study as Markdown, a table per dataset."""

import statistics
from collections.abc import Sequence

from benchmarks.ablating.result_lines import Line
from benchmarks.ablating.results import by_variant, datasets
from benchmarks.ablating.variants import FULL
from benchmarks.scoring.over_seeds import spread
from benchmarks.scoring.quality_table import number, spread_cell, table

COLUMNS = {
    "served R@10": ("served", "recall@10"),
    "N@10": ("served", "ndcg@10"),
    "R@20": ("served", "recall@20"),
    "N@20": ("served", "ndcg@20"),
    "generator R@10": ("generator", "recall@10"),
    "N@10 ": ("generator", "ndcg@10"),
    "R@20 ": ("generator", "recall@20"),
    "N@20 ": ("generator", "ndcg@20"),
    "dense R@20": ("dense", "recall@20"),
    "N@20  ": ("dense", "ndcg@20"),
}
LEGEND = (
    "R, N: recall, ndcg on the test split, mean ± standard deviation over the seeds; Δ: ndcg@20 less that of the full "
    "recipe, mean over the seeds that both have (served / generator alone). beam: recall of all that the beam holds; "
    "held: share of the best 20 of dense search in it; w: dense weights that validation chose; min: training, shared "
    "stages included."
)
HEAD = ["variant", *(name.strip() for name in COLUMNS), "Δ served", "Δ generator", "beam", "held", "w", "min", "seeds"]


def as_markdown(lines: Sequence[Line]) -> str:
    """All datasets of the file, one under the other; the full recipe is the first row of each table."""
    if not datasets(lines):
        return "No result to compare: the full recipe has none."
    return "\n\n".join([*(_dataset(lines, dataset) for dataset in datasets(lines)), LEGEND])


def _dataset(lines: Sequence[Line], dataset: str) -> str:
    grouped = by_variant(lines, dataset)
    rows = [_row(name, found, grouped[FULL]) for name, found in grouped.items()]
    used = [line for found in grouped.values() for line in found]
    bases, commits, states = (sorted({line[field] for line in used}) for field in ("base", "commit", "sources_sha256"))
    heading = f"### {dataset}\n\nRecipe {', '.join(bases)}; commits {', '.join(commits)}."
    if len(states) > 1:
        heading += f" Made by {len(states)} different states of the sources: compare with care."
    return f"{heading}\n\n{table(HEAD, rows)}"


def _row(name: str, lines: Sequence[Line], full: Sequence[Line]) -> list[str]:
    values = [spread_cell(spread([line["lists"][row][metric] for line in lines])) for row, metric in COLUMNS.values()]
    deltas = [_signed(delta(lines, full, row)) for row in ("served", "generator")]
    beam = [number(spread([line["beam"][figure] for line in lines])["mean"]) for figure in ("recall", "dense_share")]
    weights = ", ".join(dict.fromkeys(f"{line['dense_weight']:g}" for line in lines))
    minutes = statistics.fmean(training_minutes(line) for line in lines)
    return [name, *values, *deltas, *beam, weights, f"{minutes:.1f}", str(len(lines))]


def delta(lines: Sequence[Line], full: Sequence[Line], row: str) -> float | None:
    """ndcg@20 of a row less that of the full recipe, mean over the seeds that both have; None without any."""
    base = {line["seed"]: line["lists"][row]["ndcg@20"] for line in full}
    found = [line["lists"][row]["ndcg@20"] - base[line["seed"]] for line in lines if line["seed"] in base]
    return statistics.fmean(found) if found else None


def training_minutes(line: Line) -> float:
    """What the run would have taken alone, without its scoring."""
    return sum(float(seconds) for stage, seconds in line["stage_seconds"].items() if stage != "metrics") / 60


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4f}".replace("0.", ".", 1)
