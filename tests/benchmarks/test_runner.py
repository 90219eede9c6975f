"""The runner of ablations: every result is written at once, nothing is measured twice, a failure stops nobody."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import ablations
from benchmarks.ablating import runner
from benchmarks.ablating.results import Results
from benchmarks.ablating.runner import Study, run_study
from benchmarks.scoring.provenance import WorkFolder
from offline.errors import BadInputError, CollapsedRecIdsError, LockedError
from offline.recipe_settings import Recipe
from offline.shop import build_shop

MakeRun = Callable[[float], dict[str, Any]]
Call = tuple[Recipe, Path, Path | None, int | None]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shop"
    build_shop(folder)
    return folder


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, make_run: MakeRun) -> list[Call]:
    """Nothing is trained: what would be measured is noted here."""
    noted: list[Call] = []

    def measure(_: object, data: Path, recipe: Recipe, folder: Path, source: Path | None, width: int | None) -> Any:
        noted.append((recipe, folder, source, width))
        return {**make_run(0.3), "shared_stages": []}

    monkeypatch.setattr(runner, "isolated", measure)
    return noted


def study(shop: Path, work: Path, *, only: tuple[str, ...] = (), seeds: tuple[int, ...] = (0,)) -> Study:
    return Study([shop], seeds, "tiny", only, WorkFolder(work, work))


ONLY = ("full", "without graph", "20 beams", "without dense term")


def test_what_was_measured_is_not_measured_again(shop: Path, tmp_path: Path, calls: list[Call]) -> None:
    results = Results(tmp_path / "study.jsonl")
    assert run_study(study(shop, tmp_path, only=ONLY[:2]), results) == (2, 0, [])
    assert run_study(study(shop, tmp_path, only=ONLY), results) == (2, 2, [])
    assert run_study(study(shop, tmp_path, only=ONLY, seeds=(0, 1)), results) == (4, 4, [])
    assert len(calls) == len(results.lines()) == 8


def test_a_runner_that_is_killed_has_lost_one_result_at_most(
    shop: Path, tmp_path: Path, calls: list[Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = runner.isolated

    def killed(*arguments: Any) -> Any:
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(*arguments)

    monkeypatch.setattr(runner, "isolated", killed)
    results = Results(tmp_path / "study.jsonl")
    with pytest.raises(KeyboardInterrupt):
        run_study(study(shop, tmp_path, only=ONLY), results)
    assert [line["variant"] for line in results.lines()] == ["full", "without graph"]


def test_every_variant_has_a_run_of_its_own_but_beam_widths(shop: Path, tmp_path: Path, calls: list[Call]) -> None:
    run_study(study(shop, tmp_path, only=ONLY), Results(tmp_path / "study.jsonl"))
    full, graph, dense, beams = calls
    assert (full[2], full[3]) == (None, None)
    assert beams[1] == full[1]
    assert (beams[0], beams[3]) == (full[0], 20)
    assert len({full[1], graph[1], dense[1]}) == 3
    assert graph[2] == dense[2] == full[1]  # from which shared stages come


def test_a_line_says_what_was_asked_and_found(shop: Path, tmp_path: Path, calls: list[Call]) -> None:
    results = Results(tmp_path / "study.jsonl")
    run_study(study(shop, tmp_path, only=("without graph",)), results)
    (line,) = results.lines()
    assert (line["variant"], line["group"], line["dataset"], line["seed"]) == ("without graph", "graph", "shop", 0)
    assert line["differences"] == {"graph.num_layers": [2, 0]}
    assert line["lists"]["served"]["ndcg@20"] == 0.3
    assert line["base"] == "tiny"
    assert {
        "seconds",
        "date",
        "commit",
        "sources_sha256",
        "base_sha256",
        "recipe_sha256",
        "dataset_sha256",
    } <= line.keys()


def test_a_group_names_all_of_its_variants(shop: Path, tmp_path: Path, calls: list[Call]) -> None:
    run_study(study(shop, tmp_path, only=("beam width",)), Results(tmp_path / "study.jsonl"))
    assert [width for _, _, _, width in calls] == [10, 20, 50, 100, 200]


def test_a_variant_that_fails_is_written_down_and_the_others_go_on(
    shop: Path, tmp_path: Path, calls: list[Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = runner.isolated

    def collapses(*arguments: Any) -> Any:
        if arguments[2].graph.num_layers == 0:
            raise CollapsedRecIdsError("level 0 uses 10% of its 16 codes")
        return measure(*arguments)

    monkeypatch.setattr(runner, "isolated", collapses)
    results = Results(tmp_path / "study.jsonl")
    outcome = run_study(study(shop, tmp_path, only=ONLY), results)
    assert (outcome.measured, outcome.failed) == (4, ["shop, seed 0: without graph"])
    assert results.lines()[1]["error"] == "CollapsedRecIdsError: level 0 uses 10% of its 16 codes"
    monkeypatch.setattr(runner, "isolated", measure)
    assert run_study(study(shop, tmp_path, only=ONLY), results) == (1, 3, [])


def test_an_unknown_name_is_refused_before_anything_is_measured(shop: Path, tmp_path: Path, calls: list[Call]) -> None:
    with pytest.raises(BadInputError, match="without grpah"):
        run_study(study(shop, tmp_path, only=("full", "without grpah")), Results(tmp_path / "study.jsonl"))
    with pytest.raises(BadInputError, match="no recipe is called 'standrad'"):
        run_study(study(shop, tmp_path)._replace(recipe="standrad"), Results(tmp_path / "study.jsonl"))
    assert calls == []


def test_the_command_prints_json_or_a_table(
    shop: Path, tmp_path: Path, calls: list[Call], capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--out", str(tmp_path / "study.jsonl"), "--run-folder", str(tmp_path / "work")]
    asked = ["--data", str(shop), "--recipe", "tiny", "--seeds", "0,1", "--only", "full, without graph"]
    assert ablations.main([*asked, *common]) == 0
    assert json.loads(capsys.readouterr().out)["measured"] == 4
    assert ablations.main([*common, "--table"]) == 0  # nothing is measured without --data
    assert "| without graph |" in capsys.readouterr().out
    assert len(calls) == 4
    assert ablations.main(["--data", str(tmp_path / "nowhere"), *common]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_without_a_file_of_results_nothing_starts(calls: list[Call], capsys: pytest.CaptureFixture[str]) -> None:
    """`make bench` calls every benchmark without arguments, and this one takes hours."""
    assert ablations.main([]) == 0
    assert "skipped" in json.loads(capsys.readouterr().out)
    assert calls == []


@pytest.mark.parametrize(
    ("asked", "missing"),
    [
        (["--data", "shop"], "--data needs --out FILE"),
        (["--data", "shop", "--only", "full"], "--data needs --out FILE"),
        (["--table"], "--table needs --out FILE"),
        (["--plot", "study.png"], "--plot needs --out FILE"),
        (["--only", "full", "--out", "study.jsonl"], "--only needs --data DIR"),
        (["--only", "full"], "--only needs --data DIR"),
    ],
)
def test_what_needs_another_option_is_refused_without_it(
    asked: list[str], missing: str, calls: list[Call], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        ablations.main(asked)
    assert ended.value.code == 2
    assert f"error: {missing}, " in capsys.readouterr().err
    assert calls == []


@pytest.mark.parametrize(("error", "code"), [(LockedError("another process trains"), 4), (BadInputError("no run"), 2)])
def test_errors_that_stop_the_study_have_the_exit_code_of_a_job(
    shop: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(runner, "isolated", fail)
    asked = ["--data", str(shop), "--recipe", "tiny", "--out", str(tmp_path / "study.jsonl"), "--only", "full"]
    assert ablations.main(asked) == code
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {error}"


@pytest.mark.parametrize(("option", "kind"), [("--out", "a file of JSON lines"), ("--plot", "a PNG file")])
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(
    shop: Path, tmp_path: Path, calls: list[Call], capsys: pytest.CaptureFixture[str], option: str, kind: str
) -> None:
    if option == "--plot":
        pytest.importorskip("matplotlib")  # without it, that is what the benchmark says
    asked = ["--data", str(shop), "--recipe", "tiny", "--out", str(tmp_path / "study.jsonl"), option, str(tmp_path)]
    assert ablations.main(asked) == 2
    said = f"error: {option} {tmp_path} cannot be written (it is a folder); give the path of {kind}\n"
    assert capsys.readouterr().err == said
    assert calls == []


@pytest.mark.parametrize("nothing", ["", ","])
def test_an_empty_selection_is_not_everything(
    shop: Path, tmp_path: Path, calls: list[Call], capsys: pytest.CaptureFixture[str], nothing: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        ablations.main(["--data", str(shop), "--out", str(tmp_path / "study.jsonl"), "--only", nothing])
    assert ended.value.code == 2
    assert f"error: argument --only: {nothing!r} names nothing; leave the option out" in capsys.readouterr().err
    assert calls == []
