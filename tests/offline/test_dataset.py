"""What a good folder becomes; `test_given_splits.py` has what it holds out, `test_dataset_checks.py` the bad ones."""

import datetime
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from offline.dataset import load_dataset
from tests.offline.conftest import item_ids_by_user, write_dataset

Columns = dict[str, Any]

ITEMS: Columns = {"item_id": ["c", "a", "b"]}  # not sorted: an item's row is its place in the file
LOG: Columns = {"user_id": ["v", "u", "u"], "item_id": ["a", "b", "c"]}


def write(folder: Path, interactions: Columns, items: Columns = ITEMS) -> Path:
    return write_dataset(folder, interactions, items)


TIMED: Columns = {
    "user_id": ["u", "u", "v", "u", "u", "v"],
    "item_id": ["i0", "i1", "i0", "i2", "i3", "i3"],
    "timestamp": [40, 10, 7, 30, 20, 7],
}
FOUR_ITEMS: Columns = {"item_id": ["i0", "i1", "i2", "i3"]}


def test_a_minimal_folder(tmp_path: Path) -> None:
    dataset = load_dataset(write(tmp_path / "shop", LOG))
    assert (dataset.name, dataset.num_users, dataset.num_items) == ("shop", 2, 3)
    assert dataset.user_ids == ("u", "v")
    assert dataset.item_ids == ("c", "a", "b")
    assert (dataset.titles, dataset.categories, dataset.features) == (("", "", ""), ((), (), ()), {})
    assert not dataset.has_time
    assert item_ids_by_user(dataset.full_history(), dataset) == {"u": ["b", "c"], "v": ["a"]}
    assert dataset.train_counts().tolist() == [1, 1, 1]


def test_a_trailing_dot_still_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write(tmp_path / "shop", LOG))
    assert load_dataset(Path()).name == "shop"


def test_a_folder_name_is_not_a_pattern(tmp_path: Path) -> None:
    """Polars reads `*`, `[` and `key=value` in a path as instructions."""
    assert load_dataset(write(tmp_path / "split=test" / "d[1]*", LOG)).num_items == 3


def test_time_orders_histories_and_holds_out_the_last_two(tmp_path: Path) -> None:
    dataset = load_dataset(write(tmp_path / "d", TIMED, FOUR_ITEMS))
    assert dataset.has_time
    assert item_ids_by_user(dataset.targets("train"), dataset) == {
        "u": ["i1", "i3"],
        "v": ["i0", "i3"],
    }  # v: ties in file order
    assert item_ids_by_user(dataset.targets("valid"), dataset) == {"u": ["i2"]}
    assert item_ids_by_user(dataset.targets("test"), dataset) == {"u": ["i0"]}
    assert item_ids_by_user(dataset.histories("valid"), dataset)["u"] == ["i1", "i3"]
    assert item_ids_by_user(dataset.histories("test"), dataset)["u"] == ["i1", "i3", "i2"]
    assert item_ids_by_user(dataset.full_history(), dataset)["u"] == ["i1", "i3", "i2", "i0"]
    assert dataset.train_counts().tolist() == [1, 1, 0, 2]


def test_without_time_valid_items_are_no_history(tmp_path: Path) -> None:
    split = ["test", "train", "train", "valid", "train", "train"]
    log = {**TIMED, "split": split}
    del log["timestamp"]
    dataset = load_dataset(write(tmp_path / "d", log, FOUR_ITEMS))
    assert item_ids_by_user(dataset.histories("test"), dataset) == item_ids_by_user(dataset.histories("valid"), dataset)
    assert item_ids_by_user(dataset.histories("test"), dataset) == {"u": ["i1", "i3"], "v": ["i0", "i3"]}
    assert item_ids_by_user(dataset.targets("valid"), dataset) == {"u": ["i2"]}
    assert item_ids_by_user(dataset.full_history(), dataset)["u"] == ["i1", "i3", "i2", "i0"]


def test_a_given_split_wins_over_leave_one_out(tmp_path: Path) -> None:
    log = {**TIMED, "split": ["test", "train", "train", "test", "train", "valid"]}
    dataset = load_dataset(write(tmp_path / "d", log, FOUR_ITEMS))
    assert item_ids_by_user(dataset.targets("test"), dataset) == {"u": ["i2", "i0"]}
    assert item_ids_by_user(dataset.histories("test"), dataset) == {"u": ["i1", "i3"], "v": ["i0", "i3"]}


def test_a_given_split_keeps_its_order_where_timestamps_tie(tmp_path: Path) -> None:
    log = {"user_id": ["u", "u"], "item_id": ["a", "b"], "timestamp": [5, 5], "split": ["test", "train"]}
    dataset = load_dataset(write(tmp_path / "d", log))
    assert item_ids_by_user(dataset.full_history(), dataset) == {"u": ["b", "a"]}


def test_a_computed_split_never_asks_for_what_the_history_holds(tmp_path: Path) -> None:
    """View, cart, buy of one item is one discovery, at its first time."""
    log = {"user_id": ["u"] * 6, "item_id": ["a", "a", "b", "c", "c", "a"], "timestamp": range(6)}
    dataset = load_dataset(write(tmp_path / "d", log))
    assert item_ids_by_user(dataset.full_history(), dataset) == {"u": ["a", "b", "c"]}
    assert item_ids_by_user(dataset.targets("test"), dataset) == {"u": ["c"]}


def test_the_seed_moves_the_random_split_and_nothing_else(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "d",
        {"user_id": ["u"] * 50, "item_id": [str(n) for n in range(50)]},
        {"item_id": map(str, range(50))},
    )
    first, again, other = (load_dataset(folder, seed=seed) for seed in (0, 0, 1))
    assert [len(part.items) for part in (first.train, first.valid, first.test)] == [40, 5, 5]
    assert first.test.items.tolist() == again.test.items.tolist() != other.test.items.tolist()
    assert sorted(first.full_history().items) == sorted(other.full_history().items)


@pytest.mark.parametrize(
    "times",
    [
        pytest.param([3.5, 1.5, 2.5], id="float"),
        pytest.param(pl.Series([2**64 - 1, 0, 2**63], dtype=pl.UInt64), id="beyond int64"),
        pytest.param([datetime.datetime(2024, 1, day, tzinfo=datetime.UTC) for day in (3, 1, 2)], id="datetime"),
        pytest.param([datetime.date(2024, 1, day) for day in (3, 1, 2)], id="date"),
    ],
)
def test_only_the_order_of_timestamps_counts(tmp_path: Path, times: Any) -> None:
    log = {"user_id": ["u"] * 3, "item_id": ["c", "a", "b"], "timestamp": times}
    dataset = load_dataset(write(tmp_path / "d", log))
    assert item_ids_by_user(dataset.full_history(), dataset) == {"u": ["a", "b", "c"]}


@pytest.mark.parametrize(
    ("times", "problem"),
    [
        pytest.param([7, 7, 7], "is the same in all interactions of every user (row 0: 7)", id="all equal"),
        pytest.param([9, 7, 7], "is the same in all interactions of every user (row 0: 9)", id="equal for every user"),
        pytest.param([None] * 3, "is null in every row", id="null"),
        pytest.param(pl.Series([None] * 3, dtype=pl.Int64), "is null in every row", id="null numbers"),
    ],
)
def test_timestamps_that_order_nothing_are_no_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], times: Any, problem: str
) -> None:
    folder = write(tmp_path / "d", {**LOG, "timestamp": times})
    assert not load_dataset(folder).has_time
    said = capsys.readouterr().err
    assert f"warning: {folder / 'interactions.parquet'}: column 'timestamp' {problem}, so the order" in said


@pytest.mark.parametrize("times", [[7, 7, 8], [7, 9, 7]])
def test_one_user_whose_interactions_have_an_order_is_enough(tmp_path: Path, times: list[int]) -> None:
    assert load_dataset(write(tmp_path / "d", {**LOG, "timestamp": times})).has_time


def test_single_interactions_keep_their_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing contradicts it; whoever comes back tomorrow has an order."""
    log = {"user_id": ["u", "v"], "item_id": ["a", "b"], "timestamp": [5, 5], "split": ["train", "valid"]}
    assert load_dataset(write(tmp_path / "d", log)).has_time
    assert capsys.readouterr().err == ""


def test_metadata_is_read_and_its_gaps_are_empty(tmp_path: Path) -> None:
    items = {**ITEMS, "title": ["C", None, "B"], "categories": [["x", None, "y"], None, []], "price": [1, 2, 3]}
    dataset = load_dataset(write(tmp_path / "d", LOG, items))
    assert dataset.titles == ("C", "", "B")
    assert dataset.categories == (("x", "y"), (), ())


@pytest.mark.parametrize("dtype", [pl.Categorical, pl.Enum(["a", "b", "c", "u", "v"])])
def test_dictionary_encoded_ids_are_strings_too(tmp_path: Path, dtype: Any) -> None:
    log = {name: pl.Series(values, dtype=dtype) for name, values in LOG.items()}
    dataset = load_dataset(write(tmp_path / "d", log, {"item_id": pl.Series(ITEMS["item_id"], dtype=dtype)}))
    assert (dataset.user_ids, dataset.item_ids) == (("u", "v"), ("c", "a", "b"))


@pytest.mark.parametrize(
    "categories", [pl.Series([None] * 3), pl.Series([[]] * 3), pl.Series([["x"]] * 3, dtype=pl.List(pl.Categorical))]
)
def test_categories_of_any_list_type(tmp_path: Path, categories: pl.Series) -> None:
    dataset = load_dataset(write(tmp_path / "d", LOG, {**ITEMS, "categories": categories}))
    assert dataset.categories in [((),) * 3, (("x",),) * 3]


def test_event_and_weight_are_accepted(tmp_path: Path) -> None:
    log = {**LOG, "event": ["view", None, "buy"], "weight": [1.0, 2.5, 0.0]}
    assert load_dataset(write(tmp_path / "d", log)).num_users == 2


timed_logs = st.lists(
    st.tuples(st.sampled_from("uvwx"), st.sampled_from("abcdefgh"), st.integers(0, 6)), min_size=1, max_size=40
)


@settings(deadline=None, max_examples=60)
@given(timed_logs)
def test_a_timed_log_equals_a_slow_reading_of_it(log: list[tuple[str, str, int]]) -> None:
    user_ids, item_ids, times = map(list, zip(*log, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        columns = {"user_id": user_ids, "item_id": item_ids, "timestamp": times}
        dataset = load_dataset(write(Path(folder) / "d", columns, {"item_id": list("hgfedcba")}))

    seen_at: dict[str, set[int]] = {}
    for user, _, time in log:
        seen_at.setdefault(user, set()).add(time)
    ordered = any(len(moments) > 1 for moments in seen_at.values()) or len(seen_at) == len(log)
    assert dataset.has_time == ordered
    assume(ordered)

    expected: dict[str, list[str]] = {}  # sorted() is stable: ties keep the order of the file
    for user, item, _ in sorted(log, key=lambda row: row[2]):
        history = expected.setdefault(user, [])
        if item not in history:
            history.append(item)
    long = {user: history for user, history in expected.items() if len(history) >= 3}

    assert dataset.user_ids == tuple(sorted(expected))
    assert item_ids_by_user(dataset.full_history(), dataset) == expected
    assert item_ids_by_user(dataset.targets("test"), dataset) == {user: history[-1:] for user, history in long.items()}
    assert item_ids_by_user(dataset.targets("valid"), dataset) == {
        user: history[-2:-1] for user, history in long.items()
    }
    assert item_ids_by_user(dataset.histories("test"), dataset) == {
        user: history[:-1] if user in long else history for user, history in expected.items()
    }
    trained = [item for user, history in expected.items() for item in (history[:-2] if user in long else history)]
    assert dataset.train_counts().tolist() == [trained.count(item) for item in dataset.item_ids]


# --- real data --------------------------------------------------------------------------------------------------------

DATA = Path(os.environ.get("MMGREC_DATA", Path(__file__).parents[2] / "../shared/data"))
REAL = {  # users, items, train, valid, test, has_time, features: the table in the README beside the data
    "lastfm-2k": (1858, 1425, 44327, 4799, 7219, False, {"text": 384, "audio_vggish": 128, "audio_whisper": 512}),
    "tiktok": (9308, 6710, 59541, 3051, 6130, False, {"image": 128, "audio": 128}),
    "amazon-beauty": (22363, 12101, 153776, 22363, 22363, True, {"text": 384}),
}


@pytest.mark.parametrize("name", REAL)
def test_real_datasets_hold_what_their_readme_says(name: str) -> None:
    if not (DATA / name).is_dir():
        pytest.skip(f"no {name} in {DATA}: set MMGREC_DATA to the folder of the real datasets")
    dataset = load_dataset(DATA / name)
    sizes = [len(part.items) for part in (dataset.train, dataset.valid, dataset.test)]
    dims = {modality: vectors.shape[1] for modality, vectors in dataset.features.items()}
    assert (dataset.num_users, dataset.num_items, *sizes, dataset.has_time, dims) == REAL[name]
    assert len(dataset.full_history().items) == sum(sizes)
    assert dataset.train_counts().sum() == sizes[0]


def test_leave_one_out_is_the_split_that_amazon_beauty_comes_with(tmp_path: Path) -> None:
    source = DATA / "amazon-beauty"
    if not source.is_dir():
        pytest.skip(f"no amazon-beauty in {DATA}: set MMGREC_DATA to the folder of the real datasets")
    interactions = pl.read_parquet(source / "interactions.parquet").drop("split")
    items = pl.read_parquet(source / "items.parquet")
    made = load_dataset(write(tmp_path / "d", interactions.to_dict(), items.to_dict()))
    given_split = load_dataset(source)
    for split in ("valid", "test"):
        np.testing.assert_array_equal(made.targets(split).items, given_split.targets(split).items)
