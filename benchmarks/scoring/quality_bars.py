"""The bars of issue 4: what must be reached on which dataset, what is aimed at, and what was measured."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Bar(NamedTuple):
    """One bar.

    Attributes:
        row: of the report, "served" or "generator"; or "training".
        figure: in that row; its mean over the seeds is judged.
        must: the limit.
        goal: what is aimed at beyond it; None where the limit is all.
        at_least: whether the value is to be at least the limit; else at most.
    """

    row: str
    figure: str
    must: float
    goal: float | None = None
    at_least: bool = True

    def judge(self, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """The bar beside its value; `met` is None for what was not measured."""
        value = rows.get(self.row, {}).get(self.figure, {}).get("mean")
        return {
            "must": self.must,
            "goal": self.goal,
            "value": value,
            "met": self._is_met(value, self.must),
            "goal_met": self._is_met(value, self.goal),
        }

    def _is_met(self, value: float | None, limit: float | None) -> bool | None:
        if value is None or limit is None:
            return None
        return value >= limit if self.at_least else value <= limit


class Demand(NamedTuple):
    """The bars of a dataset, and the fewest seeds that they are to be shown with."""

    bars: tuple[Bar, ...]
    seeds: int


DEMANDS: dict[str, Demand] = {
    "lastfm-2k": Demand(
        (
            Bar("served", "recall@20", 0.437, 0.460),
            Bar("served", "ndcg@20", 0.315, 0.335),
            Bar("generator", "recall@20", 0.410, 0.435),
            Bar("generator", "ndcg@20", 0.290, 0.312),
            Bar("training", "minutes", 8, at_least=False),
        ),
        seeds=3,
    ),
    "tiktok": Demand(
        (
            Bar("served", "recall@20", 0.110, 0.130),
            Bar("served", "ndcg@20", 0.049, 0.056),
            Bar("training", "minutes", 8, at_least=False),
        ),
        seeds=3,
    ),
    "amazon-beauty": Demand(
        (
            Bar("served", "recall@10", 0.086, 0.100),
            Bar("served", "ndcg@10", 0.0535, 0.062),
            Bar("generator", "recall@10", 0.070, 0.090),
            Bar("generator", "ndcg@10", 0.042, 0.054),
            Bar("training", "minutes", 25, at_least=False),
        ),
        seeds=1,
    ),
}


def judge(dataset: str, rows: Mapping[str, Mapping[str, Any]], num_seeds: int) -> dict[str, Any] | None:
    """Every bar of a dataset, and whether there are seeds enough; None for a dataset without bars.

    Args:
        dataset: name of its folder.
        rows: "served", "generator" and "training", each figure with its "mean".
        num_seeds: that the means are over.
    """
    if dataset not in DEMANDS:
        return None
    demand = DEMANDS[dataset]
    verdicts = {f"{bar.row} {bar.figure}": bar.judge(rows) for bar in demand.bars}
    return {
        "bars": verdicts,
        "enough_seeds": num_seeds >= demand.seeds,
        "all_met": num_seeds >= demand.seeds and all(verdict["met"] is True for verdict in verdicts.values()),
    }
