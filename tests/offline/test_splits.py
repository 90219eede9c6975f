"""The computed splits against slow references that follow the words of the docstrings, one user at a time."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offline.splits import SPLITS, TEST, TRAIN, VALID, IntArray, first_of_each_pair, leave_one_out, random_split

logs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30)), max_size=80)


def columns(log: list[tuple[int, int]]) -> tuple[IntArray, IntArray]:
    """Sorted by user, as the loader gives them; within a user the order of the list is the order in time."""
    pairs = np.array(sorted(log, key=lambda pair: pair[0]), dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def distinct(log: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return list(dict.fromkeys(log))


def repeated(sizes: list[int]) -> IntArray:
    return np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)


def test_codes_are_positions_in_the_order_of_time() -> None:
    assert [SPLITS[code] for code in (TRAIN, VALID, TEST)] == ["train", "valid", "test"]


@settings(deadline=None)
@given(logs)
def test_first_of_each_pair_keeps_what_a_set_of_seen_pairs_lets_through(log: list[tuple[int, int]]) -> None:
    users, items = columns(log)
    seen: set[tuple[int, int]] = set()
    expected = []
    for row, pair in enumerate(zip(users.tolist(), items.tolist(), strict=True)):
        if pair not in seen:
            expected.append(row)
        seen.add(pair)
    assert first_of_each_pair(users, items).tolist() == expected


@settings(deadline=None)
@given(st.lists(st.integers(0, 6), max_size=12))
def test_leave_one_out_equals_slicing_each_user(sizes: list[int]) -> None:
    expected: list[int] = []
    for size in sizes:
        expected += [TRAIN] * (size - 2) + [VALID, TEST] if size >= 3 else [TRAIN] * size
    assert leave_one_out(repeated(sizes)).tolist() == expected


@pytest.mark.parametrize(
    ("size", "train", "held_out"),
    [(1, 1, 0), (2, 2, 0), (3, 1, 1), (10, 8, 1), (14, 12, 1), (15, 11, 2), (100, 80, 10)],
)
def test_random_split_holds_out_a_tenth_rounded_and_at_least_one(size: int, train: int, held_out: int) -> None:
    codes = random_split(np.zeros(size, dtype=np.int64), np.arange(size), seed=3)
    assert np.bincount(codes, minlength=3).tolist() == [train, held_out, held_out]


@settings(deadline=None)
@given(logs, st.integers(0, 2**31))
def test_random_split_sizes_equal_the_sizes_counted_user_by_user(log: list[tuple[int, int]], seed: int) -> None:
    users, items = columns(distinct(log))
    codes = random_split(users, items, seed=seed)
    for user in set(users.tolist()):
        of_user = codes[users == user].tolist()
        tenth = max(1, int(len(of_user) / 10 + 0.5)) if len(of_user) >= 3 else 0
        assert (of_user.count(TEST), of_user.count(VALID)) == (tenth, tenth)


@settings(deadline=None)
@given(logs, st.randoms(use_true_random=False))
def test_random_split_belongs_to_the_pair_not_to_the_place_in_the_file(
    log: list[tuple[int, int]], shuffler: Random
) -> None:
    def split_of_pair(pairs: list[tuple[int, int]]) -> dict[tuple[int, int], int]:
        users, items = columns(pairs)
        codes = random_split(users, items, seed=7).tolist()
        return dict(zip(zip(users.tolist(), items.tolist(), strict=True), codes, strict=True))

    pairs = distinct(log)
    shuffled = list(pairs)
    shuffler.shuffle(shuffled)
    assert split_of_pair(pairs) == split_of_pair(shuffled)


def test_random_split_follows_the_seed() -> None:
    users, items = repeated([40, 40]), np.tile(np.arange(40), 2)
    first, again, other = (random_split(users, items, seed=seed).tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert first[:40] != first[40:]  # each user has an own draw


def test_random_split_is_even_over_places() -> None:
    """Every place must be held out about equally often: 2000 users, expected 400 each, 6 sigma = 107."""
    users, items = repeated([10] * 2000), np.tile(np.arange(10), 2000)
    held_out = (random_split(users, items, seed=0) != TRAIN).reshape(2000, 10).sum(axis=0)
    assert np.abs(held_out - 400).max() < 107


def test_an_empty_log_has_an_empty_split() -> None:
    nothing = np.empty(0, dtype=np.int64)
    assert [len(first_of_each_pair(nothing, nothing)), len(leave_one_out(nothing))] == [0, 0]
    assert len(random_split(nothing, nothing, seed=0)) == 0
