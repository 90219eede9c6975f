"""What the `metrics` stage keeps of its rankings: counts and examples that are known by eye."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from offline.dataset import Dataset
from offline.evaluate import Rankings
from offline.recommended import EXAMPLES, keep_recommended, load_recommended
from offline.run_folder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def rankings_of(lists: list[list[int]], users: list[int]) -> Rankings:
    items = np.array([row + [-1] * (30 - len(row)) for row in lists])
    log_prob = -np.arange(items.size, dtype=np.float32).reshape(items.shape)
    return Rankings(users=np.array(users), items=items, log_prob=log_prob, score=log_prob)


def test_exposure_and_examples(run: RunFolder, make_dataset: Callable[..., Dataset]) -> None:
    """Three users; the second holds nothing out, the third has no history and so gets the popular items."""
    dataset = make_dataset([[0, 1], [1], []], [[], [], []], [[4], [], [2]], num_items=6)
    keep_recommended(rankings_of([[4, 5], [5, 3]], [0, 2]), dataset, run)
    kept = load_recommended(run, 6)
    assert kept is not None
    assert kept.lists == 2
    assert [history.tolist() for history in kept.histories] == [[0, 1], []]
    assert kept.items[0, :3].tolist() == [4, 5, -1]
    assert kept.items[1].tolist() == [1, 0, 2, 3, 4, 5, -1, -1, -1, -1]
    assert kept.found.sum(axis=1).tolist() == [1, 1]
    assert (kept.found[0, 0], kept.found[1, 2]) == (True, True)
    assert kept.exposure.tolist() == [1, 1, 1, 1, 2, 2]


def test_the_first_twenty_count_and_what_is_no_item_does_not(
    run: RunFolder, make_dataset: Callable[..., Dataset]
) -> None:
    dataset = make_dataset([[29]], [[]], [[0]], num_items=30)
    keep_recommended(rankings_of([[30, *range(25)]], [0]), dataset, run)
    kept = load_recommended(run, 30)
    assert kept is not None
    assert kept.exposure.tolist() == [1] * 19 + [0] * 11
    assert kept.items[0].tolist() == [-1, *range(9)]


def test_many_users_leave_a_few_examples_and_no_users_none(
    run: RunFolder, make_dataset: Callable[..., Dataset]
) -> None:
    size = 200
    dataset = make_dataset([[0, 1, 2]] * size, [[]] * size, [[4]] * size, num_items=6)
    keep_recommended(rankings_of([[4]] * size, list(range(size))), dataset, run)
    kept = load_recommended(run, 6)
    assert kept is not None
    assert (kept.lists, len(kept.histories), len(kept.items)) == (size, EXAMPLES, EXAMPLES)
    nobody = make_dataset([[0]], [[]], [[]], num_items=6)
    keep_recommended(Rankings(**_none()), nobody, run)
    kept = load_recommended(run, 6)
    assert kept is not None
    assert (kept.lists, kept.histories, kept.exposure.sum()) == (0, (), 0)


def _none() -> dict[str, np.ndarray]:
    empty = np.empty((0, 30), np.float32)
    return {"users": np.empty(0, int), "items": np.empty((0, 30), int), "log_prob": empty, "score": empty}


def test_a_run_of_an_earlier_version_kept_nothing(run: RunFolder) -> None:
    assert load_recommended(run, 6) is None
