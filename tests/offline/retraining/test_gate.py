"""Every reason of the gate, from figures that decide it by eye."""

from typing import Any

import pytest

from offline.retraining.gate import (
    Reason,
    catalogue_reasons,
    latency_reasons,
    promises_of,
    quality_reasons,
    replay_reasons,
    shrink_reasons,
)
from offline.retraining.judging import Verdict
from offline.run_folder import DECODER_FILES, RunFolder


def compared(new: float, served: float, error: float, *, coverage: tuple[float, float] = (0.5, 0.5)) -> dict[str, Any]:
    return {
        "users": 100,
        "new": {"recall@20": new, "ndcg@20": 0.1, "coverage@20": coverage[0]},
        "served": {"recall@20": served, "ndcg@20": 0.1, "coverage@20": coverage[1]},
        "difference": {"recall@20": new - served, "ndcg@20": 0.0},
        "standard_error": {"recall@20": error, "ndcg@20": 0.0},
    }


@pytest.mark.parametrize(
    ("new", "error", "refused"),
    [
        (0.21, 0.001, False),
        (0.197, 0.001, False),  # within the tolerance of 2 % of 0.2
        (0.19, 0.001, True),
        (0.19, 0.006, False),  # noise: less than two standard errors
        (0.1, 0.006, True),
    ],
)
def test_a_fall_counts_when_it_is_beyond_tolerance_and_noise(new: float, error: float, refused: bool) -> None:
    reasons = quality_reasons(compared(new, 0.2, error), 0.02)
    assert [(reason.name, reason.value, reason.final) for reason in reasons] == [("recall@20", new, False)] * refused
    assert all(reason.limit == pytest.approx(0.196) and "on the same 100 users" in reason.text for reason in reasons)


def test_a_coverage_that_collapsed_is_a_reason() -> None:
    assert quality_reasons(compared(0.2, 0.2, 0.0, coverage=(0.25, 0.5)), 0.02) == []
    (reason,) = quality_reasons(compared(0.2, 0.2, 0.0, coverage=(0.2, 0.5)), 0.02)
    assert (reason.name, reason.limit) == ("coverage@20", 0.25)


def test_without_anything_to_compare_there_is_no_reason() -> None:
    assert quality_reasons({}, 0.0) == quality_reasons({"users": 0, "common_items": 0}, 0.0) == []
    assert shrink_reasons({"items": 1, "interactions": 1}, {}) == latency_reasons(5.0, None, None) == []


def test_data_that_shrank_is_named() -> None:
    before = {"items": 1000, "interactions": 1000}
    assert shrink_reasons({"items": 800, "interactions": 800}, before) == []
    reasons = shrink_reasons({"items": 500, "interactions": 799}, before)
    assert [(reason.name, reason.value, reason.limit) for reason in reasons] == [
        ("items", 500, 800.0),
        ("interactions", 799, 800.0),
    ]
    assert "has 500 items, the served release was made of 1000" in reasons[0].text


def test_another_catalogue_is_named() -> None:
    assert catalogue_reasons(50, 100) == catalogue_reasons(0, 0) == []
    (reason,) = catalogue_reasons(49, 100)
    assert (reason.name, reason.value, reason.limit, reason.final) == ("catalogue", 0.49, 0.5, False)
    assert "49 of the 100 items" in reason.text
    assert "--namespace" in reason.text


@pytest.mark.parametrize(
    ("new", "served", "budget", "names"),
    [
        (10.0, 6.0, None, []),
        (13.0, 6.0, None, ["latency_ms"]),
        (1.9, 0.1, None, []),  # two milliseconds are the machine's
        (13.0, 6.0, 12.0, ["latency_ms", "latency_budget_ms"]),
        (10.0, None, 9.0, ["latency_budget_ms"]),
    ],
)
def test_answers_that_take_long(new: float, served: float | None, budget: float | None, names: list[str]) -> None:
    assert [reason.name for reason in latency_reasons(new, served, budget)] == names


def test_illegal_answers_are_final() -> None:
    counts = {"histories": 5, "illegal": 1, "duplicates": 0, "seen": 2, "missing": 0}
    reasons = replay_reasons(counts)
    assert [(reason.name, reason.value, reason.final) for reason in reasons] == [
        ("replay_illegal", 1, True),
        ("replay_seen", 2, True),
    ]


def test_what_force_may_do() -> None:
    weak = Reason(name="recall@20", value=0.1, limit=0.2, text="it fell")
    final = Reason(name="illegal", value=1, limit=0, text="illegal", final=True)
    for reasons, plain, forced in (((), True, True), ((weak,), False, True), ((weak, final), False, False)):
        verdict = Verdict(reasons=reasons)
        assert (verdict.publishes(False), verdict.publishes(True)) == (plain, forced)
        said = verdict.as_json(True)
        assert (said["passed"], said["forced"]) == (plain, forced and not plain)
        assert [reason["name"] for reason in said["reasons"]] == [reason.name for reason in reasons]


@pytest.mark.parametrize(
    ("name", "value"), [("same_lists", 0.99), ("max_score_difference", 1.0), ("max_score_difference", 1e-9)]
)
def test_parity_is_a_promise(own_run: RunFolder, name: str, value: float) -> None:
    parity = own_run.read_json("parity.json")
    own_run.write_json("parity.json", {**parity, "fp32": {**parity["fp32"], name: value}})
    own_run.record("decoder", DECODER_FILES, 0.0)
    reasons, _ = promises_of(own_run)
    assert [(reason.name, reason.final) for reason in reasons] == ([] if value == 1e-9 else [(name, True)])
