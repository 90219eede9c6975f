"""Table and plot of a study."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.ablating.study_table import as_markdown, delta, training_minutes

MakeLine = Callable[..., dict[str, Any]]


@pytest.fixture
def lines(make_line: MakeLine) -> list[dict[str, Any]]:
    served = {"full": (0.30, 0.32), "without graph": (0.20, 0.24)}
    return [
        make_line(variant, value, seed=seed, recipe_sha256=variant)
        for variant, values in served.items()
        for seed, value in enumerate(values)
    ]


def cells(table: str, variant: str) -> list[str]:
    return next(line for line in table.splitlines() if line.startswith(f"| {variant} |")).strip("| ").split(" | ")


def test_a_row_has_means_deviations_and_the_distance_to_the_full_recipe(lines: list[dict[str, Any]]) -> None:
    table = as_markdown(lines)
    row = cells(table, "without graph")
    assert row[1] == ".2200 ± .0283"  # served R@10: of .20 and .24
    assert row[5] == ".1100 ± .0141"  # generator alone
    assert row[11:13] == ["-.0900", "-.0450"]  # -.10 and -.08; half of it
    assert row[-4:] == [".8000", "8", "4.0", "2"]
    assert cells(table, "full")[11:13] == ["+.0000", "+.0000"]
    widths = {line.count("|") for line in table.splitlines() if line.startswith("|")}
    assert len(widths) == 1
    assert "commits c1" in table


def test_results_of_sources_that_were_edited_meanwhile_are_marked(make_line: MakeLine) -> None:
    lines = [make_line("full", 0.3), make_line("without graph", 0.2)]
    assert "states of the sources" not in as_markdown(lines)
    assert "Made by 2 different states of the sources" in as_markdown(
        [*lines, make_line("a", 0.2, sources_sha256="s2")]
    )


def test_only_seeds_that_both_have_are_compared(make_line: MakeLine) -> None:
    full = [make_line("full", 0.3, seed=0), make_line("full", 0.5, seed=1)]
    assert delta([make_line("without graph", 0.4, seed=1)], full, "served") == pytest.approx(-0.1)
    assert delta([make_line("without graph", 0.4, seed=2)], full, "served") is None


def test_scoring_is_no_training(make_line: MakeLine) -> None:
    assert training_minutes(make_line("full", 0.3)) == 4.0


def test_an_empty_study_says_so() -> None:
    assert as_markdown([]) == "No result to compare: the full recipe has none."


def test_a_plot_has_a_panel_per_dataset_and_two_bars_per_variant(
    lines: list[dict[str, Any]], make_line: MakeLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = pytest.importorskip("matplotlib.figure")
    from benchmarks.ablating.study_plot import draw

    drawn = []
    save = figures.Figure.savefig
    monkeypatch.setattr(figures.Figure, "savefig", lambda self, path: (drawn.append(self), save(self, path)))
    draw([*lines, make_line("full", 0.1, dataset="another")], tmp_path / "new" / "study.png")
    assert (tmp_path / "new" / "study.png").read_bytes().startswith(b"\x89PNG")
    first, second = drawn[0].axes
    assert [len(axes.patches) for axes in (first, second)] == [4, 2]
    assert [round(bar.get_width(), 4) for bar in first.patches] == [0.31, 0.22, 0.155, 0.11]
    assert [label.get_text() for label in first.get_yticklabels()] == ["full", "without graph"]
    assert first.get_xlim()[0] == 0
    assert (first.get_title(), second.get_title()) == ("made", "another")


def test_a_study_with_nothing_to_compare_is_not_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from benchmarks.ablating.study_plot import draw

    draw([], tmp_path / "study.png")
    assert not (tmp_path / "study.png").exists()
