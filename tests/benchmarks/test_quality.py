"""The report of the quality benchmark: rows over seeds, the best peer, the table, and what the command line does."""

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import ablations, warm_start
from benchmarks import quality as command
from benchmarks.scoring import quality_report
from benchmarks.scoring.over_seeds import spread, spreads
from benchmarks.scoring.provenance import commit, sources_digest, work_folder
from benchmarks.scoring.quality_measurements import measure_peer
from benchmarks.scoring.quality_report import summary
from benchmarks.scoring.quality_table import as_markdown, number
from offline.errors import BadInputError, CollapsedRecIdsError, JobError, LockedError

MakeRun = Callable[[float], dict[str, Any]]


def peer(run: dict[str, Any], name: str) -> dict[str, Any]:
    result = {"name": name, "settings": {}, "validation": None, "metrics": run["lists"]["served"]}
    return {"result": {**result, "seconds": 30.0, "peak_bytes": 2**29}, "skipped": None}


@pytest.fixture
def found(make_run: MakeRun) -> dict[str, Any]:
    runs = {0: make_run(0.44), 1: make_run(0.46)}
    peers = {
        "ease": {0: peer(make_run(0.40), "ease"), 1: peer(make_run(0.40), "ease")},
        "lightgcn": {0: peer(make_run(0.41), "lightgcn"), 1: peer(make_run(0.43), "lightgcn")},
        "sasrec": {seed: {"result": None, "skipped": "the dataset has no timestamp"} for seed in (0, 1)},
    }
    return summary("lastfm-2k", runs, peers)


def test_rows_are_means_and_deviations_over_the_seeds(found: dict[str, Any]) -> None:
    served = found["rows"]["served"]["recall@20"]
    assert served == {"mean": pytest.approx(0.45), "std": pytest.approx(statistics.stdev([0.44, 0.46]))}
    assert found["rows"]["served"]["calibration_error@20"] == {"mean": None, "std": None}
    assert found["training"]["minutes"]["mean"] == 4.0
    assert list(found["training"]["stage_seconds"]) == ["graph", "rec_ids", "generator", "decoder", "metrics"]


def test_the_best_peer_is_named_and_every_list_held_against_it(found: dict[str, Any]) -> None:
    margin = found["against_best_peer"]["ndcg@20"]
    assert margin["peer"] == "lightgcn"
    assert margin["served"] == pytest.approx(0.45 - 0.42)
    assert margin["generator"] == pytest.approx(0.225 - 0.42)


def test_a_peer_that_cannot_run_is_skipped_with_its_reason(found: dict[str, Any]) -> None:
    assert list(found["peers"]) == ["ease", "lightgcn"]
    assert found["skipped"] == {"sasrec": "the dataset has no timestamp"}


def test_the_verdict_is_over_the_means(found: dict[str, Any]) -> None:
    bars = found["verdict"]["bars"]
    assert (bars["served recall@20"]["met"], bars["generator recall@20"]["met"]) == (True, False)
    assert bars["training minutes"]["met"]
    assert not found["verdict"]["enough_seeds"]


def test_without_peers_there_is_nobody_to_beat(make_run: MakeRun) -> None:
    alone = summary("my-shop", {0: make_run(0.4)}, {})
    assert (alone["against_best_peer"], alone["verdict"]) == ({}, None)


def report_of(found: dict[str, Any]) -> dict[str, Any]:
    about = {"users": 10, "items": 20, "training_interactions": 30}
    return {
        "recipe": "standard",
        "seeds": [0, 1],
        "commit": "c1",
        "datasets": {"lastfm-2k": {"dataset": about, **found}},
    }


def test_the_table_has_all_lists_and_the_bars(found: dict[str, Any]) -> None:
    report = report_of(found)
    table = as_markdown(report)
    rows = {line.split(" | ")[0].strip("| *"): line for line in table.splitlines() if line.startswith("|")}
    assert "| .4500 ± .0141 |" in rows["MMGRec, served"]
    assert rows["MMGRec, served"].endswith("| 4.0 | 1024 |")
    assert rows["lightgcn"].endswith("| 0.5 | 512 |")
    assert rows["generator recall@20"] == "| generator recall@20 | .4100 | .4350 | .2250 | **no** | **no** |"
    assert "sasrec: skipped, the dataset has no timestamp" in table
    assert "Fewer seeds than the issue asks for." in table
    assert as_markdown(json.loads(json.dumps(report))) == table  # of a report from a file, too


def test_a_report_without_peak_memory_can_be_shown(make_run: MakeRun) -> None:
    """A run that was trained elsewhere has none."""
    table = as_markdown(report_of(summary("my-shop", {0: {**make_run(0.4), "peak_bytes": None}}, {})))
    assert "| 4.0 | - |" in table


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.43726, ".4373"), (-0.05, "-.0500"), (1.0, "1.0"), (43.25, "43.2"), (0.0, ".0000"), (None, "-")],
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text


def test_spreads() -> None:
    assert spread([0.5]) == {"mean": 0.5, "std": None}
    assert spread([None, None]) == {"mean": None, "std": None}
    assert spread([1.0, None, 3.0])["mean"] == 2.0
    assert list(spreads([{"b": 1.0}, {"b": 2.0, "a": 3.0}])) == ["b", "a"]


def test_a_finished_peer_is_not_run_again(tmp_path: Path) -> None:
    file = tmp_path / "peer.json"
    file.write_text(json.dumps({"result": None, "skipped": "no time"}))
    assert measure_peer(tmp_path / "no dataset", "sasrec", 0, file) == {"result": None, "skipped": "no time"}


def test_work_goes_where_it_is_told_or_to_a_cache_of_these_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert work_folder(tmp_path).run("shop-1", "tiny", 3) == tmp_path / "shop-1" / "tiny-seed-3"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = work_folder(None)
    assert found.runs.parent == tmp_path / "mmgrec-bench" / "runs"
    assert sources_digest(("offline/*.py",)) != sources_digest(("model/*.py",))
    assert commit()


def test_the_command_measures_seed_by_seed_and_writes_json(
    tmp_path: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def isolated(function: Callable[..., Any], *arguments: Any) -> Any:
        if function is quality_report.describe:
            return {"name": "shop", "key": "shop-1", "users": 1, "items": 1, "training_interactions": 1}
        if function is quality_report.measure_run:
            return make_run(0.3 + arguments[2] / 10)
        return peer(make_run(0.2), arguments[1])

    monkeypatch.setattr(quality_report, "isolated", isolated)
    asked = ["--data", "shop", "--recipe", "tiny", "--seeds", "0,1", "--run-folder", str(tmp_path)]
    assert command.main([*asked, "--only-peers", "ease"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["datasets"]["shop"]["rows"]["served"]["recall@20"]["mean"] == pytest.approx(0.35)
    assert list(report["datasets"]["shop"]["by_seed"]["peers"]["ease"]) == ["0", "1"]
    assert command.main([*asked, "--no-peers", "--json", str(tmp_path / "q.json"), "--table"]) == 0
    assert "MMGRec, served" in capsys.readouterr().out
    assert json.loads((tmp_path / "q.json").read_text())["datasets"]["shop"]["peers"] == {}


def test_folders_of_one_name_are_both_in_the_report(
    tmp_path: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"a": 0.3, "b": 0.4}
    trained = []

    def isolated(function: Callable[..., Any], data: Path, *_: Any) -> Any:
        if function is quality_report.describe:
            key = f"{data.name}-{data.parent.name}"
            return {"name": data.name, "key": key, "users": 1, "items": 1, "training_interactions": 1}
        trained.append(data)
        return make_run(values[data.parent.name])

    monkeypatch.setattr(quality_report, "isolated", isolated)
    asked = ["--data", "/a/shop", "--data", "/b/shop", "--data", "/b/shop", "--data", "/a/forum", "--no-peers"]
    assert command.main([*asked, "--run-folder", str(tmp_path)]) == 0
    report = json.loads(capsys.readouterr().out)
    served = {name: found["rows"]["served"]["recall@20"]["mean"] for name, found in report["datasets"].items()}
    assert served == {"shop-a": 0.3, "shop-b": 0.4, "forum": 0.3}
    assert trained == [Path("/a/shop"), Path("/b/shop"), Path("/a/forum")]
    assert all(f"### {name}\n" in as_markdown(report) for name in served)


@pytest.mark.parametrize("wrong", [["--recipe", "standrad"], ["--only-peers", "popularty"]])
def test_a_typo_is_refused_before_anything_is_trained(
    wrong: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quality_report, "isolated", lambda *_: pytest.fail("something started"))
    assert command.main(["--data", "shop", "--run-folder", str(tmp_path), *wrong]) == 2
    assert wrong[1] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadInputError("the folder holds another run"), 2),
        (LockedError("another process trains in it"), 4),
        (JobError("the exported decoder does not answer like torch"), 1),
        (CollapsedRecIdsError("level 0 uses 10% of its 16 codes"), 1),
        (FloatingPointError("the loss became nan"), 1),
    ],
)
def test_errors_end_it_with_one_line_and_the_exit_code_of_a_job(
    error: Exception, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(quality_report, "isolated", fail)
    assert command.main(["--data", "shop", "--run-folder", str(tmp_path)]) == code
    assert capsys.readouterr() == ("", f"error: {error}\n")


@pytest.mark.parametrize("option", ["--only-peers", "--seeds", "--peer-seeds"])
@pytest.mark.parametrize("nothing", ["", " , "])
def test_an_empty_selection_is_refused(
    option: str, nothing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quality_report, "isolated", lambda *_: pytest.fail("something started"))
    with pytest.raises(SystemExit) as ended:
        command.main(["--data", "shop", option, nothing])
    assert ended.value.code == 2
    assert f"error: argument {option}: {nothing!r} " in capsys.readouterr().err


@pytest.mark.parametrize("main", [command.main, ablations.main, warm_start.main])
@pytest.mark.parametrize(("seeds", "wrong"), [("-1", "-1"), ("0,-2", "-2"), (f"1,{2**32}", f"{2**32}")])
def test_a_seed_that_nothing_can_start_from_is_refused(
    main: Callable[[list[str]], int], seeds: str, wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "study.jsonl")] if main is ablations.main else []
    with pytest.raises(SystemExit) as ended:
        main(["--data", str(tmp_path), "--seeds", seeds, *out])
    assert ended.value.code == 2
    said = f"error: argument --seeds: {wrong} is no seed; give whole numbers from 0 to 4294967295\n"
    assert capsys.readouterr().err.endswith(said)


@pytest.mark.parametrize(("option", "value"), [("--only-peers", "ease"), ("--peer-seeds", "0")])
def test_without_peers_nothing_can_be_said_of_them(
    option: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quality_report, "isolated", lambda *_: pytest.fail("something started"))
    with pytest.raises(SystemExit) as ended:
        command.main(["--data", "shop", "--no-peers", option, value])
    assert ended.value.code == 2
    assert f"error: {option} says what to do with peers, and --no-peers leaves all out" in capsys.readouterr().err
