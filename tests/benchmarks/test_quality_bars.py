"""The bars of issue 4 are judged right."""

from typing import Any

import pytest

from benchmarks.scoring.quality_bars import DEMANDS, Bar, judge


def rows(row: str, figure: str, mean: float | None) -> dict[str, Any]:
    return {row: {figure: {"mean": mean, "std": None}}}


@pytest.mark.parametrize(
    ("value", "met", "goal_met"),
    [(0.4369, False, False), (0.437, True, False), (0.4599, True, False), (0.46, True, True), (None, None, None)],
)
def test_a_bar_is_met_from_its_limit_on(value: float | None, met: bool | None, goal_met: bool | None) -> None:
    verdict = Bar("served", "recall@20", 0.437, 0.46).judge(rows("served", "recall@20", value))
    assert verdict == {"must": 0.437, "goal": 0.46, "value": value, "met": met, "goal_met": goal_met}


def test_minutes_are_to_be_few_and_have_no_goal() -> None:
    bar = Bar("training", "minutes", 8, at_least=False)
    assert [bar.judge(rows("training", "minutes", minutes))["met"] for minutes in (7.9, 8.0, 8.1)] == [
        True,
        True,
        False,
    ]
    assert bar.judge(rows("training", "minutes", 1.0))["goal_met"] is None


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert Bar("served", "recall@20", 0.437).judge({})["met"] is None


def test_a_dataset_without_bars_has_no_verdict() -> None:
    assert judge("my-shop", {}, 3) is None


@pytest.mark.parametrize("dataset", DEMANDS)
def test_all_bars_of_a_dataset_have_to_be_met_with_seeds_enough(dataset: str) -> None:
    demand = DEMANDS[dataset]
    reached: dict[str, Any] = {}
    for bar in demand.bars:
        reached.setdefault(bar.row, {})[bar.figure] = {"mean": bar.must}
    enough = judge(dataset, reached, demand.seeds)
    assert enough is not None
    assert enough["all_met"]
    fewer = judge(dataset, reached, demand.seeds - 1)
    assert fewer is not None
    assert (fewer["enough_seeds"], fewer["all_met"]) == (False, False)
    reached["served"][demand.bars[0].figure] = {"mean": demand.bars[0].must - 1e-6}
    missed = judge(dataset, reached, demand.seeds)
    assert missed is not None
    assert not missed["all_met"]


def test_the_bars_are_those_of_the_issue() -> None:
    found = {
        (dataset, bar.row, bar.figure): (bar.must, bar.goal)
        for dataset, demand in DEMANDS.items()
        for bar in demand.bars
        if bar.row != "training"
    }
    assert found == {
        ("lastfm-2k", "served", "recall@20"): (0.437, 0.460),
        ("lastfm-2k", "served", "ndcg@20"): (0.315, 0.335),
        ("lastfm-2k", "generator", "recall@20"): (0.410, 0.435),
        ("lastfm-2k", "generator", "ndcg@20"): (0.290, 0.312),
        ("tiktok", "served", "recall@20"): (0.110, 0.130),
        ("tiktok", "served", "ndcg@20"): (0.049, 0.056),
        ("amazon-beauty", "served", "recall@10"): (0.086, 0.100),
        ("amazon-beauty", "served", "ndcg@10"): (0.0535, 0.062),
        ("amazon-beauty", "generator", "recall@10"): (0.070, 0.090),
        ("amazon-beauty", "generator", "ndcg@10"): (0.042, 0.054),
    }
