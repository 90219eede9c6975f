"""What is held out of a log of any size, beside the obvious way and beside what `load_dataset` does itself."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offline.dataset import load_dataset
from offline.errors import BadInputError
from offline.importing import held_out
from offline.importing.held_out import time_cuts, value_at
from tests.offline.importing.sources import text_file

TIMES = st.lists(st.integers(-(2**40), 2**41), min_size=1, max_size=50)


@settings(max_examples=80)
@given(TIMES, st.data())
def test_a_value_by_its_place_is_that_of_the_sorted_list(values: list[int], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(values) - 1))
    parts = [np.array(values[start : start + 7], np.int64) for start in range(0, len(values), 7)]
    assert value_at(lambda: parts, place, min(values), max(values)) == sorted(values)[place]


@settings(max_examples=80)
@given(st.lists(st.integers(0, 30), min_size=3, max_size=60))
def test_a_split_by_time_takes_the_newest_and_never_parts_a_moment(values: list[int]) -> None:
    times = np.array(values, np.int64)
    try:
        cuts = time_cuts(lambda: [times], len(times), valid_share=0.2, test_share=0.2)
    except BadInputError:
        ordered, rows = sorted(values), max(1, round(len(values) * 0.2))
        before = sum(value < ordered[-rows] for value in values)
        assert before <= rows or ordered[before - rows] == ordered[0]  # nothing older than valid
        return
    parts = [times[cuts.codes(times) == code] for code in range(3)]
    wanted = max(1, round(len(values) * 0.2))
    assert len(parts[0])
    assert parts[0].max() < parts[1].min()
    assert parts[1].max() < parts[2].min()
    for part in parts[1:]:
        assert (part > part.min()).sum() < wanted <= len(part)  # without its oldest moment it would be too few


def test_a_split_by_time_in_a_folder(job, tmp_path: Path) -> None:
    rows = "".join(f"u{row % 4},i{row % 5},{row}\n" for row in range(20))
    log = text_file(tmp_path / "log.csv", "user_id,item_id,timestamp\n" + rows)
    result = job(
        "import", log, "--data", tmp_path / "shop", "--split", "time", "--valid-share", ".1", "--test-share", ".2"
    ).result
    splits = pl.read_parquet(tmp_path / "shop" / "interactions.parquet")["split"].to_list()
    assert splits == ["train"] * 14 + ["valid"] * 2 + ["test"] * 4
    assert result["kept"] == 20


@pytest.mark.parametrize("block_rows", [3, 10_000])
def test_leave_one_out_is_that_of_load_dataset(
    job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_rows: int
) -> None:
    """Written into the folder or made at the door, the same is held out; in blocks of users too."""
    monkeypatch.setattr(held_out, "BLOCK_ROWS", block_rows)
    draw = np.random.default_rng(0)
    rows = [f"u{draw.integers(9)},i{draw.integers(7)},{draw.integers(12)}\n" for _ in range(120)]
    log = text_file(tmp_path / "log.csv", "user_id,item_id,timestamp\n" + "".join(rows))
    result = job("import", log, "--data", tmp_path / "written", "--split", "leave-one-out").result
    job("import", log, "--data", tmp_path / "made").result  # noqa: B018
    written, made = load_dataset(tmp_path / "written"), load_dataset(tmp_path / "made")
    assert len(written.test.items)
    for split in ("train", "valid", "test"):
        assert pairs(written, split) == pairs(made, split)
    assert result["kept"] + result["dropped"]["repeated user and item"] == 120


def pairs(dataset, split: str) -> list[tuple[str, str]]:
    part = getattr(dataset, split)
    return [(dataset.user_ids[user], dataset.item_ids[item]) for user, item in zip(part.users, part.items, strict=True)]
