"""A report of `benchmarks.quality` as Markdown."""

from collections.abc import Mapping
from typing import Any

from benchmarks.scoring.over_seeds import Spread
from offline.baselines.table import COLUMNS

Json = dict[str, Any]

LISTS = {"served": "**MMGRec, served**", "generator": "**MMGRec, generator alone**", "dense": "MMGRec, dense search"}
BEYOND = ("cover", "gini", "pop", "bits", "cold i", "cold u", "ECE")
LEGEND = (
    "R, N: recall, ndcg, mean ± standard deviation over the seeds. At 20: cover = share of the catalogue recommended, "
    "gini = inequality of exposure, pop = mean training interactions of what is recommended, bits = mean "
    "self-information, cold i / cold u = recall of items with at most 5 / users with at most 3 training interactions, "
    "ECE = calibration error of log-probabilities. min, MiB: training (peers: choice of settings and ranking too) and "
    "its peak memory."
)


def as_markdown(report: Json) -> str:
    """All datasets, one under the other."""
    parts = [_dataset(name, each, report) for name, each in report["datasets"].items()]
    return "\n\n".join([*parts, LEGEND])


def _dataset(name: str, found: Json, report: Json) -> str:
    about = found["dataset"]
    seeds = ", ".join(map(str, report["seeds"]))
    heading = (
        f"### {name}\n\n{about['users']} users, {about['items']} items, {about['training_interactions']} training "
        f"interactions; recipe {report['recipe']}, seeds {seeds}; commit {report['commit']}."
    )
    return "\n\n".join([heading, _systems(found), _beam(found), *_verdict(found["verdict"]), *_skipped(found)])


def _systems(found: Json) -> str:
    training = found["training"]
    cost = {"seconds": {"mean": 60 * training["minutes"]["mean"]}, "peak_bytes": training["peak_bytes"]}
    rows = [_row(label, {**found["rows"][name], **cost}) for name, label in LISTS.items()]
    rows += [_row(name, row) for name, row in found["peers"].items()]
    return table(["list", *COLUMNS, "min", "MiB"], rows)


def _row(label: str, row: Mapping[str, Any]) -> list[str]:
    cells = [
        number(row[metric]["mean"]) if at in BEYOND else spread_cell(row[metric]) for at, metric in COLUMNS.items()
    ]
    seconds, peak = row["seconds"]["mean"], row["peak_bytes"]["mean"]
    return [label, *cells, f"{seconds / 60:.1f}", "-" if peak is None else f"{peak / 2**20:.0f}"]


def _beam(found: Json) -> str:
    beam, training = found["beam"], found["training"]
    stages = ", ".join(f"{name} {each['mean']:.0f} s" for name, each in training["stage_seconds"].items())
    weights = ", ".join(f"{weight:g}" for weight in training["dense_weight"])
    return (
        f"Beam of {beam['width']['mean']:.0f}: recall {spread_cell(beam['recall'])}, it holds "
        f"{beam['dense_share']['mean']:.1%} of the best 20 of dense search. Stages: {stages}. Dense weight: {weights}."
    )


def _verdict(verdict: Json | None) -> list[str]:
    if verdict is None:
        return []
    says = {True: "yes", False: "**no**", None: "-"}
    rows = [
        [bar, *(number(each[name]) for name in ("must", "goal", "value")), says[each["met"]], says[each["goal_met"]]]
        for bar, each in verdict["bars"].items()
    ]
    bars = table(["bar", "must", "goal", "measured", "met", "goal met"], rows)
    return [bars] if verdict["enough_seeds"] else [bars, "Fewer seeds than the issue asks for."]


def _skipped(found: Json) -> list[str]:
    return [f"{name}: skipped, {reason}" for name, reason in found["skipped"].items()]


def spread_cell(found: Spread) -> str:
    """For example `.4373 ± .0012`; the mean alone without a deviation."""
    if found["std"] is None:
        return number(found["mean"])
    return f"{number(found['mean'])} ± {number(found['std'])}"


def number(value: float | None) -> str:
    """Four places below 1, one from there on."""
    if value is None:
        return "-"
    return f"{value:.4f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.1f}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
