"""The benchmark of the warm start: what yesterday lacks, and what is made of two runs."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from benchmarks import warm_start
from benchmarks.scoring.yesterday import write_yesterday
from offline.errors import BadInputError

NUM_USERS, NUM_ITEMS = 40, 50


def write_today(folder: Path, *, timed: bool) -> Path:
    (folder / "features").mkdir(parents=True)
    rows = [(f"u{user}", f"i{(7 * user + step) % NUM_ITEMS}", step) for user in range(NUM_USERS) for step in range(7)]
    log = pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row")
    split = pl.when(pl.col("timestamp") == 6).then(pl.lit("test")).otherwise(pl.lit("train"))
    log = log.with_columns(split.alias("split"))
    (log if timed else log.drop("timestamp")).write_parquet(folder / "interactions.parquet")
    pl.DataFrame({"item_id": [f"i{row}" for row in range(NUM_ITEMS)]}).write_parquet(folder / "items.parquet")
    np.save(folder / "features" / "text.npy", np.arange(2.0 * NUM_ITEMS).reshape(NUM_ITEMS, 2))
    return folder


def read(folder: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(folder / f"{name}.parquet")


@pytest.mark.parametrize("timed", [False, True])
def test_yesterday_lacks_the_newest_interactions(tmp_path: Path, timed: bool) -> None:
    today, before = write_today(tmp_path / "today", timed=timed), tmp_path / "yesterday"
    write_yesterday(today, before, new_interactions=0.1, new_items=0.0, seed=3)
    now, then = read(today, "interactions"), read(before, "interactions")
    assert now.columns == then.columns
    lacking = now.join(then, on=now.columns, how="anti")
    assert lacking.height == now.height - then.height == 24  # a tenth of 240 training rows
    assert set(lacking["split"]) == {"train"}
    if timed:
        assert set(lacking["timestamp"]) == {5}  # the last training interactions of 24 users
        assert lacking["user_id"].n_unique() == 24
    write_yesterday(today, tmp_path / "again", new_interactions=0.1, new_items=0.0, seed=3)
    assert read(tmp_path / "again", "interactions").equals(then)


def test_yesterday_does_not_know_the_new_items(tmp_path: Path) -> None:
    today, before = write_today(tmp_path / "today", timed=True), tmp_path / "yesterday"
    write_yesterday(today, before, new_interactions=0.0, new_items=0.3, seed=0)
    items = read(before, "items")["item_id"].to_list()
    assert 0 < len(items) < NUM_ITEMS
    assert set(read(before, "interactions")["item_id"]) == set(items)
    rows = [int(item[1:]) for item in items]
    np.testing.assert_array_equal(np.load(before / "features" / "text.npy")[:, 0], np.array(rows) * 2.0)


def test_a_dataset_without_a_split_is_refused(tmp_path: Path) -> None:
    today = write_today(tmp_path / "today", timed=True)
    read(today, "interactions").drop("split").write_parquet(today / "interactions.parquet")
    with pytest.raises(BadInputError, match=r"interactions\.parquet has no column split"):
        write_yesterday(today, tmp_path / "yesterday", new_interactions=0.1, new_items=0.1, seed=0)


def figures(seconds: float, recall: float, kept: float | None) -> dict[str, Any]:
    lists = {name: {"recall@20": recall, "ndcg@20": recall / 2} for name in ("served", "generator", "dense")}
    stages = {"graph": seconds, "rec_ids": seconds, "generator": 2 * seconds, "decoder": 99.0}
    return {"stage_seconds": stages, **lists, "rec_ids": {"kept_codes_share": kept, "kept_rec_ids_share": kept}}


def test_two_runs_beside_each_other() -> None:
    found = warm_start.compared(figures(10.0, 0.4, None), figures(2.5, 0.39, 0.99))
    assert found["training_seconds"] == {"cold": 40.0, "warm": 10.0}
    assert found["saved_share"] == 0.75
    assert found["warm_less_cold"]["served"] == {"recall@20": -0.01, "ndcg@20": -0.005}
    assert (found["kept_codes_share"], found["kept_rec_ids_share"]) == (0.99, 0.99)


def test_a_folder_that_is_none_ends_with_the_code_of_a_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert warm_start.main(["--data", str(tmp_path / "nowhere"), "--run-folder", str(tmp_path)]) == 2
    assert "nowhere" in capsys.readouterr().err
