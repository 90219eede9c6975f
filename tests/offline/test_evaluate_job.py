"""`python -m offline evaluate`: which data it takes, what it writes, and what it refuses before the work."""

from pathlib import Path

import polars as pl
import pytest

from offline.run_folder import RunFolder


def test_evaluate_takes_the_split_that_the_run_was_trained_with(
    job, trained: tuple[Path, Path], own_run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another seed would hold out what the run was trained on."""
    described = own_run.read_json("run.json")
    own_run.write_json("run.json", described | {"recipe": described["recipe"] | {"seed": 7}})
    seeds: list[int] = []

    def no_dataset(folder: Path, *, seed: int, judged_by: str) -> None:
        seeds.append(seed)
        raise FloatingPointError

    monkeypatch.setattr("offline.dataset.load_dataset", no_dataset)
    assert job("evaluate", "--data", trained[0], "--run", own_run.folder).code == 1
    assert seeds == [7]


def test_evaluate_prints_the_metrics_and_writes_predictions(job, trained, run: RunFolder, tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    found = job("evaluate", "--data", trained[0], "--run", run.folder, "--predictions", path).result
    expected = run.read_json("metrics.json")
    assert found == {name: value for name, value in expected.items() if name != "train_seconds"}
    assert pl.read_parquet(path).columns == ["user_id", "rank", "item_id", "score"]
    valid = job("evaluate", "--data", trained[0], "--run", run.folder, "--split", "valid").result
    assert valid["recall@20"] == 1.0


def test_evaluate_refuses_a_dataset_that_holds_nothing_out(job, own_run: RunFolder, tmp_path: Path) -> None:
    log = {"user_id": ["u", "u", "v"], "item_id": ["a", "b", "a"], "split": ["train", "valid", "train"]}
    (tmp_path / "shop").mkdir()
    pl.DataFrame(log).write_parquet(tmp_path / "shop" / "interactions.parquet")
    pl.DataFrame({"item_id": ["a", "b"]}).write_parquet(tmp_path / "shop" / "items.parquet")
    ended = job("evaluate", "--data", tmp_path / "shop", "--run", own_run.folder)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith("error: shop holds out nothing for test, so there is nothing to judge by; mark rows")


def test_evaluate_refuses_another_dataset(job, bare_checkerboard: Path, run: RunFolder) -> None:
    ended = job("evaluate", "--data", bare_checkerboard, "--run", run.folder)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert f"{bare_checkerboard} is not the dataset that {run.folder} was trained on" in ended.err


@pytest.mark.parametrize("where", ["", "file/predictions.parquet", "/dev/null", "/proc/predictions.parquet"])
def test_predictions_that_cannot_be_written_are_refused_before_the_work(
    job, checkerboard: Path, run: RunFolder, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("kept")
    monkeypatch.setattr("offline.train.evaluate_run", lambda *_: pytest.fail("scored"))
    ended = job("evaluate", "--data", checkerboard, "--run", run.folder, "--predictions", tmp_path / where)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith(f"error: --predictions {tmp_path / where} cannot be written (")
    assert "give the path of a parquet file" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
