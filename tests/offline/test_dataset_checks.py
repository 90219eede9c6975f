"""Every bad table is refused with a message that names the thing and the cure."""

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from offline.dataset import load_dataset
from offline.errors import BadInputError

Columns = dict[str, Any]

ITEMS: Columns = {"item_id": ["c", "a", "b"]}
LOG: Columns = {"user_id": ["v", "u", "u"], "item_id": ["a", "b", "c"]}


def write(folder: Path, interactions: Columns, items: Columns = ITEMS) -> Path:
    folder.mkdir(parents=True)
    pl.DataFrame(interactions).write_parquet(folder / "interactions.parquet")
    pl.DataFrame(items).write_parquet(folder / "items.parquet")
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(BadInputError) as caught:
        load_dataset(folder)
    return str(caught.value)


def assert_says(message: str, *fragments: str) -> None:
    missing = [fragment for fragment in fragments if fragment not in message]
    assert not missing, f"{missing} not in {message!r}"


def test_a_missing_folder(tmp_path: Path) -> None:
    assert_says(refusal(tmp_path / "nowhere"), "nowhere: no such folder", "give the folder that holds")


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "d").touch()
    assert_says(refusal(tmp_path / "d"), "d: is a file, not a folder", "give the folder that holds")


@pytest.mark.parametrize("name", ["interactions.parquet", "items.parquet"])
def test_a_missing_file(tmp_path: Path, name: str) -> None:
    (write(tmp_path / "d", LOG) / name).unlink()
    assert_says(refusal(tmp_path / "d"), f"d/{name}: no such file; write it")


def test_a_folder_instead_of_a_file(tmp_path: Path) -> None:
    """Spark writes those."""
    folder = write(tmp_path / "d", LOG)
    (folder / "items.parquet").unlink()
    (folder / "items.parquet").mkdir()
    assert_says(refusal(folder), "items.parquet: is a folder", "write its parts into one file")


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda good: b"", id="empty"),
        pytest.param(lambda good: b"user_id,item_id\nu,a\n", id="csv"),
        pytest.param(lambda good: good[: len(good) // 2], id="cut short"),
        pytest.param(lambda good: good[:4] + b"\xff" * 40 + good[44:], id="overwritten"),
    ],
)
def test_an_unreadable_file(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    file = write(tmp_path / "d", LOG) / "interactions.parquet"
    file.write_bytes(spoil(file.read_bytes()))
    assert_says(refusal(tmp_path / "d"), "interactions.parquet: cannot be read as parquet", "write it again")


BAD_INTERACTIONS = {
    "no rows": (
        {"user_id": pl.Series([], dtype=pl.String), "item_id": pl.Series([], dtype=pl.String)},
        ["no interactions", "write one row per interaction"],
    ),
    "no user column": (
        {"user": ["u"], "item_id": ["a"]},
        ["column 'user_id' is missing", "columns present: user, item_id", "rename or add it"],
    ),
    "numeric users": (
        {"user_id": [7], "item_id": ["a"]},
        ["column 'user_id' has type Int64", "row 0: 7", "cast to string", "pl.col('user_id').cast(pl.String)"],
    ),
    "numeric items": (
        {"user_id": ["u"], "item_id": [1.5]},
        ["column 'item_id' has type Float64", "row 0: 1.5", "cast to string"],
    ),
    "null user": (
        {"user_id": ["u", None], "item_id": ["a", "a"]},
        ["column 'user_id', row 1: None is null (1 of 2 rows)", "give every row an id or drop the row"],
    ),
    "all users null": (
        {"user_id": [None], "item_id": ["a"]},
        ["column 'user_id', row 0: None is null", "drop the row"],
    ),
    "empty user": (
        {"user_id": ["u", "", ""], "item_id": ["a"] * 3},
        ["column 'user_id', row 1: '' is an empty string (2 of 3 rows)", "drop the row"],
    ),
    "null item": ({"user_id": ["u", "u"], "item_id": ["a", None]}, ["column 'item_id', row 1: None is null"]),
    "unknown items": (
        {"user_id": ["u"] * 4, "item_id": ["a", "zz", "b", "yy"]},
        [
            "column 'item_id', row 1: 'zz' is not in items.parquet (2 of 4 rows)",
            "add the item to items.parquet or drop",
        ],
    ),
    "text for time": (
        {**LOG, "timestamp": ["2024-01-01"] * 3},
        ["column 'timestamp' has type String", "row 0: '2024-01-01'", "milliseconds since 1970 UTC, a datetime or any"],
    ),
    "duration for time": (
        {**LOG, "timestamp": [datetime.timedelta(1)] * 3},
        ["column 'timestamp' has type Duration", "leave the column out"],
    ),
    "null time": ({**LOG, "timestamp": [1, None, 3]}, ["column 'timestamp', row 1: None is null (1 of 3 rows)"]),
    "nan time": ({**LOG, "timestamp": [1.0, 2.0, np.nan]}, ["column 'timestamp', row 2: nan is not finite"]),
    "infinite time": (
        {**LOG, "timestamp": [1.0, -np.inf, 2.0]},
        ["column 'timestamp', row 1: -inf is not finite", "write milliseconds"],
    ),
    "unknown split": (
        {**LOG, "split": ["train", "validation", "dev"]},
        ["column 'split', row 1: 'validation' is none of train, valid, test (2 of 3 rows)", "leave the column out"],
    ),
    "null split": ({**LOG, "split": ["train", None, "test"]}, ["column 'split', row 1: None is none of train"]),
    "numeric split": ({**LOG, "split": [0, 1, 2]}, ["column 'split' has type Int64, row 0: 0", "cast to string"]),
    "nothing to train on": (
        {**LOG, "split": ["test", "test", "valid"]},
        ["column 'split': no row of 3 is 'train' (row 0: 'test')", "mark the training interactions"],
    ),
    "split against time": (
        {**LOG, "timestamp": [9, 2, 1], "split": ["train", "train", "test"]},
        [
            "column 'split', row 1: 'train' of user 'u' is later than 'test' in row 2 (1 such rows)",
            "leave out 'timestamp' to keep this split, or 'split' to have one made by time",
        ],
    ),
    "numeric event": ({**LOG, "event": [1, 2, 3]}, ["column 'event' has type Int64", "cast to string"]),
    "text for weight": (
        {**LOG, "weight": ["1"] * 3},
        ["column 'weight' has type String, row 0: '1'", "write a finite number in every row, or leave the column out"],
    ),
    "infinite weight": ({**LOG, "weight": [1.0, 2.0, np.inf]}, ["column 'weight', row 2: inf is not finite (1 of 3"]),
    "null weight": ({**LOG, "weight": [1.0, None, None]}, ["column 'weight', row 1: None is null (2 of 3 rows)"]),
}


@pytest.mark.parametrize(("interactions", "fragments"), BAD_INTERACTIONS.values(), ids=BAD_INTERACTIONS)
def test_bad_interactions(tmp_path: Path, interactions: Columns, fragments: list[str]) -> None:
    assert_says(refusal(write(tmp_path / "d", interactions)), "d/interactions.parquet: ", *fragments)


BAD_ITEMS = {
    "no rows": ({"item_id": pl.Series([], dtype=pl.String)}, ["no items", "write one row per item"]),
    "no id column": (
        {"id": ["a"], "title": ["A"]},
        ["column 'item_id' is missing", "columns present: id, title", "rename or add it"],
    ),
    "numeric ids": ({"item_id": [10, 11]}, ["column 'item_id' has type Int64, row 0: 10", "cast to string"]),
    "null id": ({"item_id": ["a", None]}, ["column 'item_id', row 1: None is null", "drop the row"]),
    "empty id": ({"item_id": ["", "a"]}, ["column 'item_id', row 0: '' is an empty string", "give every row an id"]),
    "repeated ids": (
        {"item_id": ["a", "b", "c", "b", "b"]},
        ["column 'item_id', row 3: 'b' repeats row 1 (2 repeated in all)", "keep one row per item"],
    ),
    "numeric title": ({**ITEMS, "title": [1, 2, 3]}, ["column 'title' has type Int64, row 0: 1", "cast to string"]),
    "plain category": (
        {**ITEMS, "categories": ["x", "y", "z"]},
        ["column 'categories' has type String, row 0: 'x'", "write a list of strings per item"],
    ),
    "numeric categories": (
        {**ITEMS, "categories": [[1], [2], []]},
        ["column 'categories' has type List(Int64)", "leave the column out"],
    ),
}


@pytest.mark.parametrize(("items", "fragments"), BAD_ITEMS.values(), ids=BAD_ITEMS)
def test_bad_items(tmp_path: Path, items: Columns, fragments: list[str]) -> None:
    assert_says(refusal(write(tmp_path / "d", LOG, items)), "d/items.parquet: ", *fragments)
