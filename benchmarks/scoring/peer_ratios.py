"""A quality report of one dataset as rows side by side, each with its ratio to the best peer."""

from collections.abc import Mapping
from typing import Any

from benchmarks.scoring.quality_table import number, table

Json = dict[str, Any]

PEERS = ("item-knn", "ease", "transitions", "sasrec", "lightgcn", "popularity")
METRICS = ("recall@10", "ndcg@10", "recall@20", "ndcg@20")
LISTS = {"served": "MMGRec, served", "generator": "MMGRec, generator alone", "dense": "MMGRec, dense search"}


def compared(benchmark: str, report: Json, shop: Json) -> Json:
    """Every list of MMGRec and every peer with its metrics and their ratios to the best peer.

    Args:
        benchmark: whose report it becomes.
        report: of `benchmarks.scoring.quality_report.quality`, on one dataset.
        shop: what the dataset was made from.
    """
    (found,) = report["datasets"].values()
    rows = {name: _means(row) for name, row in {**found["rows"], **found["peers"]}.items()}
    best = {metric: max(found["peers"], key=lambda peer: rows[peer][metric]) for metric in METRICS}
    return {
        "benchmark": benchmark,
        "shop": shop,
        **{name: report[name] for name in ("recipe", "commit", "sources_sha256", "machine")},
        "rows": {name: {**row, "of_best_peer": _ratios(row, best, rows)} for name, row in rows.items()},
        "best_peer": best,
        "skipped": found["skipped"],
        "beam": {name: spread["mean"] for name, spread in found["beam"].items()},
        "checks": found["checks"],
        "training": found["training"],
        "settings": {name: row["settings"][0] for name, row in found["peers"].items()},
    }


def as_markdown(report: Json) -> str:
    """The rows as a table; ratios to the best peer in brackets."""
    rows = [
        [LISTS.get(name, name), *(f"{number(row[metric])} ({_ratio(row, metric)})" for metric in METRICS)]
        for name, row in report["rows"].items()
    ]
    best = ", ".join(f"{metric} {peer}" for metric, peer in report["best_peer"].items())
    shop = report["shop"]
    return (
        f"{shop['users']} users of {shop['interactions']} interactions, {shop['items']} items, seed {shop['seed']}; "
        f"recipe {report['recipe']}, commit {report['commit']}. In brackets the ratio to the best peer ({best}).\n\n"
        + table(["list", *METRICS], rows)
    )


def _means(row: Mapping[str, Any]) -> dict[str, float]:
    return {metric: float(row[metric]["mean"]) for metric in METRICS}


def _ratios(row: Mapping[str, float], best: Mapping[str, str], rows: Mapping[str, Mapping[str, float]]) -> Json:
    """None where the best peer finds nothing either."""
    limits = {metric: rows[peer][metric] for metric, peer in best.items()}
    return {metric: row[metric] / limit if limit > 0 else None for metric, limit in limits.items()}


def _ratio(row: Mapping[str, Any], metric: str) -> str:
    ratio = row["of_best_peer"][metric]
    return "-" if ratio is None else f"{ratio:.2f}"
