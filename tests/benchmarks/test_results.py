"""The file of a study: what stands there is not asked again, and a killed runner does no harm."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import ablations
from benchmarks.ablating.result_lines import NUMBERS, TEXTS, first_flaw
from benchmarks.ablating.results import Results, by_variant, comparable, datasets
from benchmarks.ablating.study_table import COLUMNS
from offline.errors import BadInputError

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


NO_RESULTS = {
    b"12": "is no JSON object",
    b'["variant", "full"]': "is no JSON object",
    b'[["variant", "full"]]': "is no JSON object",
    b"null": "is no JSON object",
    b"{}": "is no result (it has no text variant)",
    b"\xff{}": "is not JSON",
    b"": "is not JSON",
    b"[" * 100_000: "is not JSON",
}


@pytest.mark.parametrize("text", NO_RESULTS, ids=lambda text: repr(text[:20]))
def test_a_line_that_is_no_result_is_reported_and_costs_no_other(
    text: bytes, results: Results, make_line: MakeLine, capsys: pytest.CaptureFixture[str]
) -> None:
    results.append(make_line("full", 0.3))
    good = results.path.read_bytes()
    results.path.write_bytes(good + text + b"\n")
    assert results.holds(make_line("full", 0.3))
    results.append(make_line("without graph", 0.2))
    assert [line["variant"] for line in results.lines()] == ["full", "without graph"]
    assert capsys.readouterr().err == f"{results.path}:2 {NO_RESULTS[text]} and is left out\n"  # once
    assert results.path.read_bytes().startswith(good + text + b"\n")  # nothing is taken out of the file
    assert ablations.main(["--out", str(results.path), "--table"]) == 0
    said = capsys.readouterr()
    assert f"{results.path}:2 {NO_RESULTS[text]}" in said.err
    assert "| full |" in said.out
    assert "| without graph |" in said.out


@pytest.mark.parametrize("path", [*((name,) for name in TEXTS), ("seed",), ("stage_seconds",), *NUMBERS], ids=".".join)
@pytest.mark.parametrize("value", [None, [], "absent", True])
def test_a_result_has_all_that_is_compared_and_shown(path: tuple[str, ...], value: Any, make_line: MakeLine) -> None:
    line = json.loads(json.dumps(make_line("full", 0.3)))
    assert first_flaw(line) is None
    within = line
    for name in path[:-1]:
        within = within[name]
    if value == "absent":
        del within[path[-1]]
    else:
        within[path[-1]] = value
    assert str(first_flaw(line)).endswith(" " + ".".join(path))
    assert first_flaw(line | {"error": "FloatingPointError: the loss became nan"}) is None


def test_what_the_table_shows_is_asked_of_a_line() -> None:
    assert {("lists", *column) for column in COLUMNS.values()} <= set(NUMBERS)


def test_a_stage_without_seconds_is_no_result(make_line: MakeLine) -> None:
    assert first_flaw(make_line("full", 0.3, stage_seconds={"graph": None})) == "no numbers stage_seconds"


def test_a_folder_holds_no_results(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"cannot be read .* give a file of JSON lines"):
        Results(tmp_path).lines()


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
