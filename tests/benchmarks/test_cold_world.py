"""Items that appear after training: what is held out, what is written, and what content alone would find."""

from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.scoring.cold_peers import ContentKnn
from benchmarks.scoring.cold_world import ColdWorld, choose_cold, write_new, write_without_cold
from offline.dataset import load_dataset
from tests.offline.conftest import histories_of, item_id, write_checkerboard, write_dataset

ROWS = [
    *[("ann", "a", 1, "train"), ("ann", "b", 2, "train"), ("ann", "c", 3, "valid"), ("ann", "d", 4, "test")],
    *[("bob", "b", 1, "train"), ("bob", "d", 2, "train"), ("bob", "a", 3, "test")],
]


def small(folder: Path) -> ColdWorld:
    """Items a to d, of which b and d appear later."""
    table = pl.DataFrame(ROWS, schema=["user_id", "item_id", "timestamp", "split"], orient="row")
    items = {"item_id": list("abcd"), "title": [f"Title {name}" for name in "abcd"]}
    dataset = load_dataset(write_dataset(folder, table.to_dict(as_series=False), items))
    return ColdWorld(dataset=dataset, cold=np.array([False, True, False, True]))


def test_what_is_held_out_and_what_is_known(tmp_path: Path) -> None:
    world = small(tmp_path / "data")
    assert [world.held_out(("test",)).of(user).tolist() for user in range(2)] == [[3], []]
    assert [world.held_out(("train", "test")).of(user).tolist() for user in range(2)] == [[1, 3], [1, 3]]
    assert [world.histories().of(user).tolist() for user in range(2)] == [[0, 2], []]


def test_the_training_sees_nothing_of_them_and_keeps_its_splits(tmp_path: Path) -> None:
    world = small(tmp_path / "data")
    without = load_dataset(write_without_cold(world, tmp_path / "without"))
    assert without.item_ids == ("a", "c")
    assert without.titles == ("Title a", "Title c")
    assert without.has_time
    assert [without.histories("test").of(user).tolist() for user in range(2)] == [[0, 1], []]
    assert [without.targets("test").of(user).tolist() for user in range(2)] == [[], [0]]
    new = write_new(world, tmp_path / "new")
    assert pl.read_parquet(new / "items.parquet")["item_id"].to_list() == ["b", "d"]
    assert sorted(pl.read_parquet(new / "interactions.parquet").select("user_id", "item_id", "split").rows()) == sorted(
        (user, item, split) for user, item, _, split in ROWS
    )


def test_a_share_of_the_items_with_their_features(tmp_path: Path) -> None:
    dataset = load_dataset(write_checkerboard(tmp_path / "data"))
    world = choose_cold(dataset, 0.1, 0)
    assert world.cold.sum() == 6
    np.testing.assert_array_equal(world.cold, choose_cold(dataset, 0.1, 0).cold)
    assert not np.array_equal(world.cold, choose_cold(dataset, 0.1, 1).cold)
    new = write_new(world, tmp_path / "new")
    rows = np.flatnonzero(world.cold)
    np.testing.assert_array_equal(np.load(new / "features" / "image.npy"), dataset.features["image"][rows])
    assert pl.read_parquet(new / "items.parquet")["item_id"].to_list() == [item_id(row) for row in rows]


def test_content_neighbours_find_the_like(tmp_path: Path) -> None:
    dataset = load_dataset(write_checkerboard(tmp_path / "data"))
    scores = ContentKnn(dataset, np.arange(60) < 50).scores(histories_of([[0, 2, 4], [1, 3, 5]]), np.array([0, 1]))
    for user in range(2):
        best = np.argsort(-scores[user][50:])[:5]
        assert (best % 2 == user).all()
