"""How a user's training items are parted into a history and held-out targets."""

from collections.abc import Callable, Iterable
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offline.dataset import Dataset, Histories
from offline.training_batches import Batch, BatchSampler

MakeHistories = Callable[[Iterable[Iterable[int]]], Histories]
MakeDataset = Callable[..., Dataset]
# A history holds an item once: `Dataset.histories` sees to it, whatever the log repeats (test_given_splits.py).
lists_of_items = st.lists(st.lists(st.integers(0, 30), max_size=12, unique=True), min_size=1, max_size=8).filter(any)


def batches(histories: Histories, *, ordered: bool, seed: int = 0, number: int = 6, **sizes: int) -> list[Batch]:
    sizes = {"batch_users": 3, "max_history": 5, "num_targets": 4} | sizes
    return list(islice(BatchSampler(histories, ordered=ordered, seed=seed, **sizes), number))


def rows(batch: Batch) -> list[tuple[int, list[int], list[int]]]:
    """User, history (newest first) and targets, without the empty slots, which must stand at the end."""
    found = []
    for user, history, targets in zip(batch.users, batch.history, batch.targets, strict=True):
        for padded in (history, targets):
            assert (np.diff((padded < 0).astype(int)) >= 0).all()
        found.append((int(user), history[history >= 0].tolist(), targets[targets >= 0].tolist()))
    return found


@settings(deadline=None, max_examples=80)
@given(lists=lists_of_items, ordered=st.booleans(), seed=st.integers(0, 9))
def test_a_target_is_never_in_the_history(
    make_histories: MakeHistories, lists: list[list[int]], ordered: bool, seed: int
) -> None:
    for batch in batches(make_histories(lists), ordered=ordered, seed=seed):
        assert (batch.users.dtype, batch.history.dtype, batch.targets.dtype) == (np.int64,) * 3
        assert batch.targets.shape == (len(batch.users), 4)
        assert batch.history.shape[1] <= 5
        for user, history, targets in rows(batch):
            assert not set(history) & set(targets)
            assert set(history) | set(targets) <= set(lists[user])


@settings(deadline=None, max_examples=80)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=6), seed=st.integers(0, 9), max_history=st.integers(1, 12)
)
def test_with_order_the_history_stands_right_before_the_targets(
    make_histories: MakeHistories, lengths: list[int], seed: int, max_history: int
) -> None:
    """Items are numbered in the order of time, so a run of numbers shows what came when."""
    histories = make_histories(range(length) for length in lengths)
    for batch in batches(histories, ordered=True, seed=seed, max_history=max_history):
        for user, history, targets in rows(batch):
            cut = targets[0]
            assert history == list(range(cut))[::-1][:max_history]
            assert targets == list(range(cut, lengths[user]))[:4]
            assert cut >= 1 or lengths[user] == 1


def test_without_order_any_item_may_be_held_out_and_at_least_half_stays(make_histories: MakeHistories) -> None:
    histories = make_histories([range(10)])
    drawn = [rows(batch)[0] for batch in batches(histories, ordered=False, number=200, max_history=20, num_targets=20)]
    assert {item for _, _, targets in drawn for item in targets} == set(range(10))
    assert {len(history) for _, history, _ in drawn} == {5, 6, 7, 8, 9}
    assert all(len(history) + len(targets) == 10 for _, history, targets in drawn)


@pytest.mark.parametrize("ordered", [True, False])
def test_a_user_with_a_single_interaction_learns_from_an_empty_history(
    make_histories: MakeHistories, ordered: bool
) -> None:
    (batch,) = batches(make_histories([[7]]), ordered=ordered, number=1)
    assert (batch.history.shape, rows(batch)) == ((1, 0), [(0, [], [7])])


@pytest.mark.parametrize("has_time", [True, False])
def test_an_item_that_a_user_has_many_times_is_never_on_both_sides(make_dataset: MakeDataset, has_time: bool) -> None:
    dataset = make_dataset([[3, 3, 3, 4, 3]], [[]], [[]], num_items=5, has_time=has_time)
    for batch in batches(dataset.histories("valid"), ordered=has_time, number=40):
        for _, history, targets in rows(batch):
            assert not set(history) & set(targets)


@pytest.mark.parametrize("ordered", [True, False])
def test_every_user_once_per_round_and_none_without_items(make_histories: MakeHistories, ordered: bool) -> None:
    histories = make_histories([[1, 2], [], [3, 4], [5, 6], [1, 5], [2]])
    users = [batch.users.tolist() for batch in batches(histories, ordered=ordered, number=40)]
    for first, second in zip(users[::2], users[1::2], strict=True):
        assert sorted(map(len, (first, second))) == [2, 3]
        assert sorted(first + second) == [0, 2, 3, 4, 5]
    assert len(set(map(tuple, users))) > 4  # other rounds, other batches


def test_users_of_like_length_share_a_batch(make_histories: MakeHistories) -> None:
    """So that little of a batch is padding."""
    histories = make_histories([range(2), range(20)] * 4)
    drawn = batches(histories, ordered=True, number=40, batch_users=4)
    assert {tuple(sorted(batch.users % 2)) for batch in drawn} == {(0,) * 4, (1,) * 4}


@pytest.mark.parametrize("ordered", [True, False])
def test_the_seed_decides_everything(make_histories: MakeHistories, ordered: bool) -> None:
    histories = make_histories([range(9)] * 5)

    def drawn(seed: int) -> list[list[tuple[int, list[int], list[int]]]]:
        return [rows(batch) for batch in batches(histories, ordered=ordered, seed=seed)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
