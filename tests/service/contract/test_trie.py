"""The flat trie beside a dictionary of prefixes; every broken array is refused by name."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.contract import trie as trie_module
from service.contract.rec_id import RecIdSpace
from service.contract.trie import Trie, build_trie

SPACE = RecIdSpace(codebook_sizes=(3, 4), popularity_size=5)

#   root ─ 0 ─ 1 ─ 0      leaf 0 = row 2
#        │       └ 3      leaf 1 = row 0
#        └ 2 ─ 0 ─ 0      leaf 2 = row 3
#            └ 3 ─ 4      leaf 3 = row 1
BY_EYE = np.array([[0, 1, 3], [2, 3, 4], [0, 1, 0], [2, 0, 0]], np.int32)

catalogues = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=40, unique=True
).map(lambda rows: np.array(rows, np.int32))


def children_of(rec_ids: np.ndarray) -> dict[tuple[int, ...], list[int]]:
    """The slow way: every prefix and the tokens that may follow it, in rising order."""
    following: dict[tuple[int, ...], set[int]] = {}
    for rec_id in rec_ids.tolist():
        for level, token in enumerate(rec_id):
            following.setdefault(tuple(rec_id[:level]), set()).add(token)
    return {prefix: sorted(tokens) for prefix, tokens in following.items()}


def walk(trie: Trie) -> tuple[dict[tuple[int, ...], list[int]], dict[tuple[int, ...], int]]:
    """Follow the arrays from the root: tokens after every prefix, and the item row of every whole Rec-ID."""
    following: dict[tuple[int, ...], list[int]] = {}
    depth: dict[tuple[int, ...], int] = {(): 0}  # prefix to node number
    for starts, tokens in zip(trie.child_start, trie.tokens, strict=True):
        below = {}
        for prefix, node in depth.items():
            following[prefix] = tokens[starts[node] : starts[node + 1]].tolist()
            for child in range(starts[node], starts[node + 1]):
                below[(*prefix, int(tokens[child]))] = child
        depth = below
    return following, {rec_id: int(trie.leaf_to_row[leaf]) for rec_id, leaf in depth.items()}


def test_by_eye() -> None:
    trie = build_trie(BY_EYE, SPACE)
    assert [starts.tolist() for starts in trie.child_start] == [[0, 2], [0, 1, 3], [0, 2, 3, 4]]
    assert [tokens.tolist() for tokens in trie.tokens] == [[0, 2], [1, 0, 3], [0, 3, 0, 4]]
    assert trie.leaf_to_row.tolist() == [2, 0, 3, 1]
    assert [starts.tolist() for starts in trie.leaf_starts()] == [[0, 4], [0, 2, 4], [0, 2, 3, 4], [0, 1, 2, 3, 4]]
    assert trie.row_to_leaf()[trie.leaf_to_row].tolist() == [0, 1, 2, 3]
    assert (trie.num_levels, trie.num_items, trie.widths) == (3, 4, (2, 2, 2))
    assert {array.dtype for array in trie.arrays().values()} == {np.dtype(np.int32)}
    assert trie.num_bytes == 4 * sum(array.size for array in trie.arrays().values())


@given(catalogues)
def test_every_node_has_the_children_of_its_prefix(rec_ids: np.ndarray) -> None:
    trie = build_trie(rec_ids, SPACE)
    following, rows = walk(trie)
    expected = children_of(rec_ids)
    assert following == expected
    assert rows == {tuple(rec_id): row for row, rec_id in enumerate(rec_ids.tolist())}
    for depth, width in enumerate(trie.widths):
        assert width == max(len(tokens) for prefix, tokens in expected.items() if len(prefix) == depth)


@given(catalogues)
def test_every_node_covers_the_leaves_of_its_prefix(rec_ids: np.ndarray) -> None:
    trie = build_trie(rec_ids, SPACE)
    ordered = sorted(map(tuple, rec_ids.tolist()))
    for depth, starts in enumerate(trie.leaf_starts()):
        prefixes = sorted({rec_id[:depth] for rec_id in ordered})
        assert starts.tolist() == [
            *(min(leaf for leaf, rec_id in enumerate(ordered) if rec_id[:depth] == prefix) for prefix in prefixes),
            len(ordered),
        ]


@given(catalogues)
def test_rec_ids_are_the_inverse(rec_ids: np.ndarray) -> None:
    trie = build_trie(rec_ids, SPACE)
    assert trie.rec_ids().tolist() == sorted(rec_ids.tolist())
    assert np.array_equal(trie.rec_ids(), rec_ids[trie.leaf_to_row])


@given(catalogues)
def test_a_window_as_wide_as_the_widest_node_fits_behind_every_first_child(rec_ids: np.ndarray) -> None:
    trie = build_trie(rec_ids, SPACE)
    for starts, tokens, padded, width in zip(
        trie.child_start, trie.tokens, trie.padded_tokens(), trie.widths, strict=True
    ):
        assert padded[: len(tokens)].tolist() == tokens.tolist()
        assert padded[len(tokens) :].tolist() == [0] * width
        assert padded.dtype == np.int32
        assert starts[-1] + width <= len(padded)  # whatever is read from any node on, the one behind the last too


@given(catalogues)
def test_every_row_has_its_leaf(rec_ids: np.ndarray) -> None:
    trie = build_trie(rec_ids, SPACE)
    ordered = sorted(rec_ids.tolist())
    assert trie.row_to_leaf().tolist() == [ordered.index(rec_id) for rec_id in rec_ids.tolist()]
    assert trie.row_to_leaf() is trie.row_to_leaf()  # made once


@given(catalogues)
def test_the_arrays_make_the_same_trie_again(rec_ids: np.ndarray) -> None:
    trie = build_trie(rec_ids, SPACE)
    again = Trie.from_arrays(trie.arrays(), SPACE)
    assert again.arrays().keys() == trie.arrays().keys()
    for name, array in trie.arrays().items():
        assert np.array_equal(again.arrays()[name], array), name


def test_a_long_key_is_sorted_the_same() -> None:
    """Over 62 bits together with the row number, the keys take another way through the sort."""
    space = RecIdSpace(codebook_sizes=(2**30, 2**30), popularity_size=4)
    random = np.random.default_rng(0)
    rec_ids = np.stack([random.integers(0, 2**30, 500), random.integers(0, 2**30, 500), np.zeros(500)], axis=1)
    rec_ids[:250, 0] = 2**30 - 1
    trie = build_trie(rec_ids.astype(np.int32), space)
    assert trie.rec_ids().tolist() == sorted(rec_ids.astype(int).tolist())


@given(catalogues)
def test_both_ways_to_sort_agree(rec_ids: np.ndarray) -> None:
    keys = np.random.default_rng(len(rec_ids)).permutation(len(rec_ids)).astype(np.int64)
    short, rows = trie_module._sort_keys(keys)
    long, long_rows = trie_module._sort_keys(keys + 2**61)
    assert np.array_equal(short + 2**61, long)
    assert np.array_equal(rows, long_rows)


def test_one_item() -> None:
    trie = build_trie(np.array([[2, 1, 4]], np.int32), SPACE)
    assert (trie.widths, trie.rec_ids().tolist()) == ((1, 1, 1), [[2, 1, 4]])
    assert Trie.from_arrays(trie.arrays(), SPACE).num_items == 1


@pytest.mark.parametrize(
    ("rec_ids", "message"),
    [
        (np.zeros((0, 3)), "no Rec-IDs; a trie needs at least one item"),
        ([[0, 1, 0], [1, 1, 1], [2, 3, 4], [1, 1, 1]], r"item rows 1 and 3 share the Rec-ID \[1, 1, 1\]"),
        ([[0, 4, 0]], r"row 0 has token 4 at level 1; the limit is 0\.\.3"),
        ([[0, 0]], r"expected \[num_items, 3\]"),
    ],
)
def test_rec_ids_that_make_no_trie(rec_ids: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_trie(np.array(rec_ids, np.int32), SPACE)


@pytest.mark.parametrize(
    ("name", "broken", "message"),
    [
        ("child_start.0", [0, 1], "child_start.0 does not partition 2 nodes among 1"),
        ("child_start.1", [0, 1, 2], "child_start.1 does not partition 3 nodes among 2"),
        ("child_start.1", [1, 2, 3], "child_start.1 does not partition 3 nodes among 2"),
        ("child_start.1", [0, 3], "child_start.1 does not partition 3 nodes among 2"),
        ("child_start.1", [0, 3, 3], "child_start.1 does not partition"),  # a node without children
        ("child_start.2", [0, 3, 2, 4], "child_start.2 does not partition"),  # falling
        ("tokens.0", [0, 3], r"tokens.0 spans 0\.\.3; the limit is 0\.\.2"),
        ("tokens.2", [0, 3, -1, 4], r"tokens.2 spans -1\.\.4; the limit is 0\.\.4"),
        ("tokens.1", [1, 3, 0], "tokens.1 does not rise among the children of a node"),
        ("tokens.2", [3, 3, 0, 4], "tokens.2 does not rise among the children of a node"),
        ("leaf_to_row", [2, 0, 3, 3], "leaf_to_row is no permutation of 4 item rows"),
        ("leaf_to_row", [2, 0, 4, 1], "leaf_to_row is no permutation of 4 item rows"),
        ("leaf_to_row", [2, 0, 1], "leaf_to_row is no permutation of 4 item rows"),
    ],
)
def test_a_broken_array_is_refused(name: str, broken: list[int], message: str) -> None:
    arrays = build_trie(BY_EYE, SPACE).arrays() | {f"trie.{name}": np.array(broken, np.int32)}
    with pytest.raises(ValueError, match=rf"^trie\.{message}"):
        Trie.from_arrays(arrays, SPACE)


@pytest.mark.parametrize("name", ["trie.leaf_to_row", "trie.child_start.2", "trie.tokens.0"])
def test_a_missing_array_is_named(name: str) -> None:
    arrays = build_trie(BY_EYE, SPACE).arrays()
    del arrays[name]
    with pytest.raises(ValueError, match=rf"{name}.*is missing; expected 3 levels; republish"):
        Trie.from_arrays(arrays, SPACE)


def test_tokens_may_fall_from_one_parent_to_the_next() -> None:
    """[1 | 0, 3] at depth 1 of the catalogue by eye: legal, since 1 and 0 have different parents."""
    trie = Trie.from_arrays(build_trie(BY_EYE, SPACE).arrays(), SPACE)
    assert trie.tokens[1].tolist() == [1, 0, 3]
