"""What a given split holds out: repeats that can never be recommended, splits that are empty, users who have any."""

import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offline.dataset import held_out_users, load_dataset, require_held_out
from offline.errors import BadInputError
from tests.offline.conftest import dataset_of, item_ids_by_user, write_dataset

Columns = dict[str, Any]

LOG: Columns = {"user_id": ["v", "u", "u"], "item_id": ["i0", "i1", "i2"]}
ITEMS: Columns = {"item_id": ["i0", "i1", "i2", "i3"]}


def write(folder: Path, interactions: Columns, items: Columns = ITEMS) -> Path:
    return write_dataset(folder, interactions, items)


def test_a_dataset_that_holds_nothing_out_cannot_be_judged_by(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judged = write(tmp_path / "judged", {**LOG, "split": ["train", "train", "test"]})
    require_held_out(load_dataset(judged, judged_by="test"), "test")
    unjudged = write(tmp_path / "unjudged", {**LOG, "split": ["train"] * 3})
    for folder, split in ((unjudged, "test"), (unjudged, "valid"), (judged, "valid")):
        capsys.readouterr()
        message = f"{folder.name} holds out nothing for {split}, so there .* mark rows with split={split}, or leave out"
        with pytest.raises(BadInputError, match=message):
            load_dataset(folder, judged_by=split)
        assert capsys.readouterr().err == ""  # one refusal, no warnings beside it
        with pytest.raises(BadInputError, match=message):
            require_held_out(load_dataset(folder), split)


def test_nothing_held_out_for_validation_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = "holds out nothing for valid: what validation would choose (the temperature, who teaches the generator, the"
    load_dataset(write(tmp_path / "all", {**LOG, "split": ["train"] * 3}))
    assert f"warning: all {said}" in capsys.readouterr().err
    load_dataset(write(tmp_path / "some", {**LOG, "split": ["train", "train", "valid"]}))
    assert capsys.readouterr().err == ""


REPEATS: Columns = {
    "user_id": ["u"] * 7 + ["v"] * 3,
    "item_id": ["i0", "i1", "i1", "i2", "i0", "i2", "i3", "i1", "i1", "i1"],
    "split": ["train", "train", "valid", "valid", "test", "test", "test", "train", "valid", "test"],
}


@pytest.mark.parametrize(
    ("has_time", "test", "said"),
    [(True, ["i3"], "5 held-out interactions"), (False, ["i2", "i3"], "4 held-out interactions")],
)
def test_held_out_items_that_the_history_has_are_not_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], has_time: bool, test: list[str], said: str
) -> None:
    """With time, what is held out for validation is history of the test (i2); a user who has nothing left is none."""
    log = {**REPEATS, "timestamp": range(10)} if has_time else REPEATS
    dataset = load_dataset(write(tmp_path / "d", log))
    assert f"warning: d: {said} are with items that stand in the user's history" in capsys.readouterr().err
    assert item_ids_by_user(dataset.targets("valid"), dataset) == {"u": ["i2"]}
    assert item_ids_by_user(dataset.targets("test"), dataset) == {"u": test}
    assert held_out_users(dataset, "test").tolist() == held_out_users(dataset, "valid").tolist() == [0]
    assert item_ids_by_user(dataset.full_history(), dataset) == {"u": ["i0", "i1", "i2", "i3"], "v": ["i1"]}
    assert dataset.train_counts().tolist() == [1, 2, 0, 0]


def test_only_repeats_held_out_is_nothing_held_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = {"user_id": ["u"] * 3, "item_id": ["i0"] * 3, "split": ["train", "valid", "test"]}
    folder = write(tmp_path / "d", log)
    dataset = load_dataset(folder)
    assert len(dataset.valid.users) == len(dataset.test.users) == 0
    said = capsys.readouterr().err
    assert "2 held-out interactions" in said
    assert "nothing for valid" in said
    with pytest.raises(BadInputError, match="holds out nothing for test"):
        load_dataset(folder, judged_by="test")


def test_users_with_held_out_items_are_taken_evenly() -> None:
    held_out = [[1], [], [2], [3], [], [4], [5], [6], [7], [8]]
    made = dataset_of([[0]] * 10, held_out, [[]] * 10, num_items=9)
    assert held_out_users(made, "valid").tolist() == [0, 2, 3, 5, 6, 7, 8, 9]
    assert held_out_users(made, "valid", 100).tolist() == [0, 2, 3, 5, 6, 7, 8, 9]
    assert held_out_users(made, "valid", 3).tolist() == [0, 5, 9]
    assert not len(held_out_users(made, "test", 3))


def test_a_given_split_keeps_repeats(tmp_path: Path) -> None:
    log = {"user_id": ["u"] * 3, "item_id": ["i0", "i0", "i1"], "split": ["train", "train", "test"]}
    dataset = load_dataset(write(tmp_path / "d", log))
    assert dataset.train_counts().tolist() == [2, 0, 0, 0]
    assert item_ids_by_user(dataset.histories("test"), dataset) == {
        "u": ["i0"]
    }  # a history holds an item once, as when served


split_logs = st.lists(
    st.tuples(st.sampled_from("uvwx"), st.sampled_from("abcdefgh"), st.sampled_from(["train", "valid", "test"])),
    max_size=40,
)


@settings(deadline=None, max_examples=60)
@given(split_logs)
def test_a_split_log_equals_a_slow_reading_of_it(log: list[tuple[str, str, Literal["train", "valid", "test"]]]) -> None:
    log = [("u", "a", "train"), *log]
    user_ids, item_ids, parts = map(list, zip(*log, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        columns = {"user_id": user_ids, "item_id": item_ids, "split": parts}
        dataset = load_dataset(write(Path(folder) / "d", columns, {"item_id": list("hgfedcba")}))

    trained = {(user, item) for user, item, part in log if part == "train"}
    for split in ("train", "valid", "test"):
        expected: dict[str, list[str]] = {}
        for user, item, part in log:
            known = split != "train" and (user, item) in trained  # without time the history is train alone
            if part == split and not known and item not in expected.get(user, []):  # a repeat counts once
                expected.setdefault(user, []).append(item)
        assert item_ids_by_user(dataset.targets(split), dataset) == expected
        interactions = getattr(dataset, split)
        assert (np.diff(interactions.users) >= 0).all()
        assert interactions.users.dtype == interactions.items.dtype == np.int64
