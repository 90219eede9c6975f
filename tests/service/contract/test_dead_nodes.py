"""Dead nodes beside a look at every node: dead = every leaf below is excluded, listed once under a living parent."""

from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.contract.dead_nodes import DeadNodeFinder, pad_dead_nodes
from service.contract.rec_id import RecIdSpace
from service.contract.trie import Trie, build_trie

SPACE = RecIdSpace(codebook_sizes=(3, 3), popularity_size=3)
ALL_REC_IDS = list(product(range(3), repeat=3))


@st.composite
def exclusions(draw: st.DrawFn) -> tuple[Trie, list[int]]:
    """A catalogue and some of its leaf positions, down to none and up to all."""
    rec_ids = draw(st.lists(st.sampled_from(ALL_REC_IDS), min_size=1, max_size=27, unique=True))
    leaves = range(len(rec_ids))
    kept = draw(st.sets(st.sampled_from(leaves)))
    excluded = kept if draw(st.booleans()) else set(leaves) - kept
    return build_trie(np.array(rec_ids, np.int32), SPACE), sorted(excluded)


def slow_dead_nodes(trie: Trie, excluded: set[int]) -> list[set[tuple[int, ...]]]:
    """Prefixes of every depth that no allowed item has, but whose parents have one."""
    rec_ids = [tuple(rec_id) for rec_id in trie.rec_ids().tolist()]
    alive = [rec_id for leaf, rec_id in enumerate(rec_ids) if leaf not in excluded]
    dead = []
    for depth in range(1, trie.num_levels + 1):
        living = {rec_id[:depth] for rec_id in alive}
        living_parents = {rec_id[: depth - 1] for rec_id in alive}
        prefixes = {rec_id[:depth] for rec_id in rec_ids} - living
        dead.append({prefix for prefix in prefixes if prefix[:-1] in living_parents or depth == 1})
    return dead


def prefixes_of(trie: Trie, depth: int) -> list[tuple[int, ...]]:
    """The prefix of every node of a depth, by node number."""
    return sorted({tuple(rec_id[:depth]) for rec_id in trie.rec_ids().tolist()})


@given(exclusions())
def test_exactly_the_dead_nodes_are_found(case: tuple[Trie, list[int]]) -> None:
    trie, excluded = case
    found = DeadNodeFinder(trie).find(np.array(excluded, np.int64))
    for depth, (pairs, expected) in enumerate(zip(found, slow_dead_nodes(trie, set(excluded)), strict=True), start=1):
        parents, tokens, starts = prefixes_of(trie, depth - 1), trie.tokens[depth - 1], trie.child_start[depth - 1]
        named = [(*parents[parent], int(tokens[starts[parent] + offset])) for parent, offset in pairs]
        assert len(named) == len(set(named))
        assert set(named) == expected
        for parent, offset in pairs:
            assert 0 <= offset < starts[parent + 1] - starts[parent]


def test_by_eye() -> None:
    #   0 ─ 0 ─ 0 1      leaves 0, 1
    #     └ 2 ─ 0        leaf 2
    #   1 ─ 0 ─ 0        leaf 3
    trie = build_trie(np.array([[0, 0, 0], [0, 0, 1], [0, 2, 0], [1, 0, 0]], np.int32), SPACE)
    finder = DeadNodeFinder(trie)

    def found(*leaves: int) -> list[list[list[int]]]:
        return [pairs.tolist() for pairs in finder.find(np.array(leaves, np.int64))]

    assert found() == [[], [], []]
    assert found(1) == [[], [], [[0, 1]]]  # one popularity token of two
    assert found(2) == [[], [[0, 1]], []]  # the whole code 2 below node 0; nothing is said of its leaf
    assert found(3) == [[[0, 1]], [], []]
    assert found(0, 1, 3) == [[[0, 1]], [[0, 0]], []]
    assert found(0, 1, 2) == [[[0, 0]], [], []]
    assert found(0, 1, 2, 3) == [[[0, 0], [0, 1]], [], []]


def test_padding_takes_few_lengths_and_parent_minus_one() -> None:
    def pairs(count: int) -> np.ndarray:
        return np.stack([np.arange(count), np.arange(count) + 100], axis=1)

    batch = [(pairs(0), pairs(2), pairs(65)), (pairs(1), pairs(8), pairs(0))]
    padded = pad_dead_nodes(batch, 3)
    assert [array.shape for array in padded] == [(2, 1, 2), (2, 8, 2), (2, 512, 2)]
    assert {array.dtype for array in padded} == {np.dtype(np.int64)}
    for level, array in enumerate(padded):
        for row, dead in enumerate(batch):
            count = len(dead[level])
            assert array[row, :count].tolist() == dead[level].tolist()
            assert np.all(array[row, count:] == [-1, 0])


def test_padding_of_nothing_has_length_one() -> None:
    nothing = (np.zeros((0, 2), np.int64),) * 2
    assert [array.tolist() for array in pad_dead_nodes([nothing], 2)] == [[[[-1, 0]]], [[[-1, 0]]]]
