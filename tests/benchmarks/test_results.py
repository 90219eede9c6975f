"""The file of a study: what stands there is not asked again, and a killed runner does no harm."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.ablating.results import Results, by_variant, comparable, datasets

MakeLine = Callable[..., dict[str, Any]]


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "new folder" / "study.jsonl")


def test_a_file_that_is_not_there_holds_nothing(results: Results, make_line: MakeLine) -> None:
    assert results.lines() == []
    assert not results.holds(make_line("full", 0.3))


def test_what_was_appended_is_held(results: Results, make_line: MakeLine) -> None:
    results.append(make_line("full", 0.3))
    assert results.lines() == [make_line("full", 0.3)]
    assert results.holds(make_line("full", 0.9))  # the question counts, not the answer


@pytest.mark.parametrize(
    "changes",
    [
        {"variant": "without graph"},
        {"seed": 1},
        {"dataset_sha256": "another"},
        {"recipe_sha256": "another"},
        {"base_sha256": "another"},
    ],
)
def test_another_question_is_not_held(results: Results, make_line: MakeLine, changes: dict[str, Any]) -> None:
    results.append(make_line("full", 0.3))
    assert not results.holds(make_line("full", 0.3) | changes)


def test_a_failure_is_tried_again(results: Results, make_line: MakeLine) -> None:
    results.append(make_line("full", 0.3, error="FloatingPointError: the loss became nan"))
    assert not results.holds(make_line("full", 0.3))


def test_half_a_line_is_left_out_and_does_not_spoil_the_next(results: Results, make_line: MakeLine) -> None:
    results.append(make_line("full", 0.3))
    with results.path.open("a") as file:
        file.write('{"variant": "without gra')
    results.append(make_line("without graph", 0.2))
    assert [line["variant"] for line in results.lines()] == ["full", "without graph"]


def test_the_newest_line_counts(make_line: MakeLine) -> None:
    lines = [make_line("full", 0.1), make_line("full", 0.2), make_line("full", 0.3, seed=1)]
    assert [line["lists"]["served"]["ndcg@20"] for line in comparable(lines)] == [0.2, 0.3]


def test_variants_of_an_older_recipe_are_not_mixed_with_those_of_today(make_line: MakeLine) -> None:
    old = [make_line("full", 0.1), make_line("without graph", 0.05)]
    new = [make_line("full", 0.3, base_sha256="new"), make_line("without text", 0.2, base_sha256="new")]
    assert [line["variant"] for line in comparable([*old, *new])] == ["full", "without text"]


def test_another_content_of_a_dataset_is_another_dataset(make_line: MakeLine) -> None:
    old = [make_line("full", 0.1, dataset_sha256="a" * 64), make_line("without graph", 0.05, dataset_sha256="a" * 64)]
    new = make_line("full", 0.3, dataset_sha256="b" * 64)
    without_base = make_line("without graph", 0.2, dataset_sha256="c" * 64)
    lines = [*old, new, without_base]
    assert comparable(lines) == [*old, new]
    assert datasets(lines) == ["made-aaaaaaaa", "made-bbbbbbbb"]
    assert by_variant(lines, "made-aaaaaaaa") == {"full": [old[0]], "without graph": [old[1]]}
    assert by_variant(lines, "made-bbbbbbbb") == {"full": [new]}
    assert datasets([old[1], new]) == ["made"]  # nothing is compared with the older content


def test_without_the_full_recipe_or_without_success_there_is_nothing_to_compare(make_line: MakeLine) -> None:
    lines = [make_line("without graph", 0.2), make_line("full", 0.3, error="no")]
    assert comparable(lines) == []
    assert datasets(lines) == []


def test_groups_stay_together_behind_the_full_recipe(make_line: MakeLine) -> None:
    lines = [
        make_line("without graph", 0.2),
        make_line("plain attention", 0.2, group="attention"),
        make_line("BPR for softmax", 0.2),
        make_line("full", 0.3),
        make_line("full", 0.3, dataset="another"),
    ]
    assert list(by_variant(lines, "made")) == ["full", "without graph", "BPR for softmax", "plain attention"]
    assert datasets(lines) == ["made", "another"]
