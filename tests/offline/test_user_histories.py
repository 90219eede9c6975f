"""What is loaded is what the model is evaluated with, and times are believed only where they can be times."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from offline.dataset import load_dataset
from offline.errors import BadInputError
from offline.user_histories import read_user_histories, user_histories

NOW = 1_763_740_800_000


def write(folder: Path, **columns: list[Any]) -> Path:
    folder.mkdir(exist_ok=True)
    pl.DataFrame(columns).write_parquet(folder / "interactions.parquet")
    pl.DataFrame({"item_id": ["a", "b", "c", "d"], "title": list("ABCD")}).write_parquet(folder / "items.parquet")
    return folder


def by_user(histories: Any) -> dict[str, list[str]]:
    ends = histories.offsets.tolist()
    return {
        user: [histories.item_ids[row] for row in histories.items[ends[at] : ends[at + 1]]]
        for at, user in enumerate(histories.user_ids)
    }


def test_oldest_first_every_item_where_it_came_first(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        user_id=["u", "u", "v", "u", "u"],
        item_id=["c", "a", "d", "c", "b"],
        timestamp=[NOW + 3, NOW + 1, NOW, NOW + 2, NOW + 4],
    )
    histories = read_user_histories(folder)
    assert by_user(histories) == {"u": ["a", "c", "b"], "v": ["d"]}
    assert histories.times is not None
    assert histories.times.tolist() == [NOW + 1, NOW + 2, NOW + 4, NOW]


def test_without_time_train_comes_before_valid_and_test(tmp_path: Path) -> None:
    folder = write(tmp_path, user_id=["u"] * 4, item_id=["a", "b", "c", "d"], split=["test", "valid", "train", "train"])
    histories = read_user_histories(folder)
    assert by_user(histories) == {"u": ["c", "d", "b", "a"]}
    assert histories.times is None
    assert by_user(user_histories(load_dataset(folder))) == by_user(histories)


def test_the_same_histories_as_the_model_is_evaluated_with(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        user_id=["u", "v"] * 6,
        item_id=list("abcdabcdabcd"),
        timestamp=[5, 3, 9, 1, 1, 2, 3, 4, 5, 6, 7, 8],
    )
    histories = read_user_histories(folder)
    assert by_user(histories) == by_user(user_histories(load_dataset(folder)))


@pytest.mark.parametrize(
    ("timestamps", "believed"),
    [
        ([NOW, NOW + 1], [NOW, NOW + 1]),
        ([float(NOW), NOW + 1.0], [NOW, NOW + 1]),
        ([datetime(2025, 11, 21, 16, tzinfo=UTC), datetime(2025, 11, 21, 17, tzinfo=UTC)], [NOW, NOW + 3_600_000]),
        ([1, 2], None),  # an order
        ([1_763_740_800, 1_763_740_801], None),  # seconds
        ([1, NOW], None),  # one of them cannot be
        ([NOW * 1000, NOW * 1000 + 1], None),  # microseconds
    ],
)
def test_what_counts_as_milliseconds(tmp_path: Path, timestamps: list[Any], believed: list[int] | None) -> None:
    histories = read_user_histories(write(tmp_path, user_id=["u"] * 2, item_id=["a", "b"], timestamp=timestamps))
    assert (None if histories.times is None else histories.times.tolist()) == believed
    assert by_user(histories) == {"u": ["a", "b"]}


def test_what_is_wrong_with_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="give the folder"):
        read_user_histories(tmp_path / "nowhere")
    with pytest.raises(BadInputError, match="row 1"):
        read_user_histories(write(tmp_path, user_id=["u", "u"], item_id=["a", "zebra"]))
