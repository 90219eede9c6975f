"""Popularity tokens, the limits of a Rec-ID and its packed order, beside slow references."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.contract.rec_id import RecIdSpace, pack_rec_ids, popularity_tokens


def slow_popularity_tokens(codes: list[tuple[int, ...]], counts: list[int], item_ids: list[str]) -> list[int]:
    """For every item, count the items of its bucket that come before it."""
    rows = range(len(codes))
    return [
        sum(
            codes[other] == codes[row] and (-counts[other], item_ids[other]) < (-counts[row], item_ids[row])
            for other in rows
        )
        for row in rows
    ]


def test_popularity_tokens_by_eye() -> None:
    codes = np.array([[1, 2], [0, 0], [1, 2], [1, 2], [0, 0]], np.int32)
    tokens = popularity_tokens(codes, np.array([5, 1, 9, 5, 0]), ["d", "b", "c", "a", "e"])
    # Bucket (1, 2): c with 9, then the tie at 5 by id: a before d. Bucket (0, 0): b with 1, e with 0.
    assert tokens.tolist() == [2, 0, 0, 1, 1]
    assert tokens.dtype == np.int32


@given(
    st.lists(
        st.tuples(st.tuples(st.integers(0, 1), st.integers(0, 2)), st.integers(0, 2), st.text("aB1é", max_size=3)),
        min_size=1,
        max_size=25,
        unique_by=lambda item: item[2],
    )
)
def test_popularity_tokens_equal_the_slow_way(items: list[tuple[tuple[int, int], int, str]]) -> None:
    codes, counts, item_ids = [item[0] for item in items], [item[1] for item in items], [item[2] for item in items]
    fast = popularity_tokens(np.array(codes, np.int32), np.array(counts), item_ids)
    assert fast.tolist() == slow_popularity_tokens(codes, counts, item_ids)


def test_popularity_tokens_do_not_wrap_on_unsigned_counts() -> None:
    codes = np.zeros((3, 1), np.int32)
    assert popularity_tokens(codes, np.array([0, 7, 3], np.uint32), ["a", "b", "c"]).tolist() == [2, 0, 1]


def test_the_sizes_of_a_space() -> None:
    space = RecIdSpace(codebook_sizes=(1, 2, 5, 256), popularity_size=257)
    assert space.vocabulary_sizes == (1, 2, 5, 256, 257)
    assert space.num_levels == 5
    assert space.token_bits == (1, 1, 3, 8, 9)


@pytest.mark.parametrize(
    ("codebook_sizes", "popularity_size", "message"),
    [
        ((), 4, "codebook_sizes is empty.*at least one semantic level"),
        ((4, 0), 4, "level 1 has a vocabulary of 0 tokens"),
        ((4,), 0, "level 1 has a vocabulary of 0 tokens"),
        ((-3,), 4, "level 0 has a vocabulary of -3 tokens"),
        ((2**31, 2**31), 2, "over 62 bits; use fewer levels or codes"),
    ],
)
def test_an_impossible_space_is_refused(codebook_sizes: tuple[int, ...], popularity_size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RecIdSpace(codebook_sizes=codebook_sizes, popularity_size=popularity_size)


def test_sixty_two_bits_are_enough() -> None:
    space = RecIdSpace(codebook_sizes=(2**31, 2**30), popularity_size=2)
    largest = np.array([[2**31 - 1, 2**30 - 1, 1]], np.int32)
    assert pack_rec_ids(largest, space).tolist() == [2**62 - 1]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(0, 8)), min_size=2, max_size=30))
def test_packed_keys_order_like_rec_ids(rec_ids: list[tuple[int, int, int]]) -> None:
    space = RecIdSpace(codebook_sizes=(3, 5), popularity_size=9)
    keys = pack_rec_ids(np.array(rec_ids, np.int32), space)
    for left, left_key in zip(rec_ids, keys, strict=True):
        for right, right_key in zip(rec_ids, keys, strict=True):
            assert (left < right, left == right) == (left_key < right_key, left_key == right_key)


@pytest.mark.parametrize(
    ("rec_ids", "message"),
    [
        ([[0, 0, 0], [2, 5, 0]], r"row 1 has token 5 at level 1; the limit is 0\.\.4"),
        ([[0, 0, 0], [1, 1, 1], [-1, 0, 0]], r"row 2 has token -1 at level 0; the limit is 0\.\.2"),
        ([[0, 0, 9]], r"row 0 has token 9 at level 2; the limit is 0\.\.8"),
        ([[0, 0]], r"shape \(1, 2\); expected \[num_items, 3\]"),
        ([0, 0, 0], r"shape \(3,\); expected \[num_items, 3\]"),
    ],
)
def test_illegal_rec_ids_are_named(rec_ids: list[object], message: str) -> None:
    space = RecIdSpace(codebook_sizes=(3, 5), popularity_size=9)
    with pytest.raises(ValueError, match=message):
        pack_rec_ids(np.array(rec_ids, np.int32), space)
