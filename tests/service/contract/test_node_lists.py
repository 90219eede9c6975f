"""Node lists beside a look at every node: dead = nothing legal below it, listed once under a living parent."""

from itertools import product
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.contract.allowed_nodes import AllowedNodes
from service.contract.node_lists import NodeLists, pad_lists
from service.contract.rec_id import RecIdSpace
from service.contract.trie import Trie, build_trie

SPACE = RecIdSpace(codebook_sizes=(3, 3), popularity_size=3)
ALL_REC_IDS = list(product(range(3), repeat=3))

many_examples = settings(max_examples=300, deadline=None, derandomize=True)


class Case(NamedTuple):
    """A catalogue, the leaf positions that a category filter allows, and some that are listed."""

    trie: Trie
    allowed: set[int]
    listed: set[int]

    @property
    def filter(self) -> AllowedNodes:
        return AllowedNodes.of(self.trie, np.isin(np.arange(self.trie.num_items), list(self.allowed)))


def draw_leaves(draw: st.DrawFn, count: int) -> set[int]:
    """From none to all; nearly all as often as nearly none."""
    leaves = draw(st.sets(st.sampled_from(range(count))))
    return leaves if draw(st.booleans()) else set(range(count)) - leaves


@st.composite
def cases(draw: st.DrawFn) -> Case:
    rec_ids = draw(st.lists(st.sampled_from(ALL_REC_IDS), min_size=1, max_size=27, unique=True))
    trie = build_trie(np.array(rec_ids, np.int32), SPACE)
    return Case(trie, draw_leaves(draw, len(rec_ids)), draw_leaves(draw, len(rec_ids)))


def prefixes_of(trie: Trie, depth: int, leaves: set[int] | None = None) -> list[tuple[int, ...]]:
    """Different prefixes of the Rec-IDs at some leaf positions; of them all: by node number."""
    rec_ids = trie.rec_ids().tolist()
    chosen = range(trie.num_items) if leaves is None else leaves
    return sorted({tuple(rec_ids[leaf][:depth]) for leaf in chosen})


def slow_dead_nodes(trie: Trie, allowed: set[int], excluded: set[int], depth: int) -> set[tuple[int, ...]]:
    """Prefixes that allowed items have, but no legal one, and whose parents have a legal one."""
    legal = allowed - excluded
    parents = {(), *prefixes_of(trie, depth - 1, legal)}
    dead = set(prefixes_of(trie, depth, allowed)) - set(prefixes_of(trie, depth, legal))
    return {prefix for prefix in dead if prefix[:-1] in parents}


def array(leaves: set[int]) -> np.ndarray:
    return np.array(sorted(leaves), np.int64)


def check_named(trie: Trie, depth: int, nodes: np.ndarray, expected: set[tuple[int, ...]]) -> None:
    names = prefixes_of(trie, depth)
    named = [names[node] for node in nodes]
    assert len(named) == len(set(named)), "a node twice"
    assert set(named) == expected


@many_examples
@given(cases())
def test_exactly_the_dead_nodes_are_found(case: Case) -> None:
    everything = set(range(case.trie.num_items))
    for depth, nodes in enumerate(NodeLists(case.trie).dead(array(case.listed)), start=1):
        check_named(case.trie, depth, nodes, slow_dead_nodes(case.trie, everything, case.listed, depth))


@many_examples
@given(cases())
def test_with_a_filter_only_what_it_leaves_is_counted(case: Case) -> None:
    excluded = case.listed & case.allowed
    found = NodeLists(case.trie).dead(array(excluded), case.filter)
    for depth, nodes in enumerate(found, start=1):
        check_named(case.trie, depth, nodes, slow_dead_nodes(case.trie, case.allowed, excluded, depth))


@many_examples
@given(cases())
def test_what_the_filter_and_the_lists_leave_is_what_is_legal(case: Case) -> None:
    """Walking down through what neither closes ends at the legal leaves alone, and never in a dead end."""
    excluded, wanted = case.listed & case.allowed, case.filter
    dead = NodeLists(case.trie).dead(array(excluded), wanted)
    entered = {0}
    for depth, starts in enumerate(case.trie.child_start):
        children = {child for node in entered for child in range(starts[node], starts[node + 1])}
        entered = {child for child in children if wanted.nodes[depth][child]} - set(dead[depth].tolist())
        names = prefixes_of(case.trie, depth + 1)
        assert {names[node] for node in entered} == set(prefixes_of(case.trie, depth + 1, case.allowed - case.listed))
    assert entered == case.allowed - case.listed


@many_examples
@given(cases())
def test_alive_nodes_are_the_prefixes_of_the_leaves(case: Case) -> None:
    for depth, nodes in enumerate(NodeLists(case.trie).alive(array(case.listed)), start=1):
        check_named(case.trie, depth, nodes, set(prefixes_of(case.trie, depth, case.listed)))


#   0 ─ 0 ─ 0 1      leaves 0, 1
#     └ 2 ─ 0        leaf 2
#   1 ─ 0 ─ 0        leaf 3
BY_EYE = build_trie(np.array([[0, 0, 0], [0, 0, 1], [0, 2, 0], [1, 0, 0]], np.int32), SPACE)


@pytest.mark.parametrize(
    ("excluded", "expected"),
    [
        ([], [[], [], []]),
        ([1], [[], [], [1]]),  # one popularity token of two
        ([2], [[], [1], []]),  # the whole code 2 below node 0; nothing is said of its leaf
        ([3], [[1], [], []]),
        ([0, 1, 3], [[1], [0], []]),
        ([0, 1, 2], [[0], [], []]),
        ([0, 1, 2, 3], [[0, 1], [], []]),
    ],
)
def test_dead_nodes_by_eye(excluded: list[int], expected: list[list[int]]) -> None:
    found = NodeLists(BY_EYE).dead(np.array(excluded, np.int64))
    assert [nodes.tolist() for nodes in found] == expected


def test_dead_nodes_below_a_filter_by_eye() -> None:
    """Without leaf 0, excluding leaf 1 kills the code above it; excluding both others too, all of node 0."""
    wanted = AllowedNodes.of(BY_EYE, np.array([False, True, True, True]))

    def found(*leaves: int) -> list[list[int]]:
        return [nodes.tolist() for nodes in NodeLists(BY_EYE).dead(np.array(leaves, np.int64), wanted)]

    assert found(1) == [[], [0], []]
    assert found(1, 2) == [[0], [], []]


def test_alive_nodes_by_eye() -> None:
    lists = NodeLists(BY_EYE)
    assert [nodes.tolist() for nodes in lists.alive(np.array([1, 2]))] == [[0], [0, 1], [1, 2]]
    assert [nodes.tolist() for nodes in lists.alive(np.empty(0, np.int64))] == [[], [], []]


def test_padding_takes_the_longest_list_and_minus_one() -> None:
    counts = [(0, 2, 65), (1, 4, 0)]
    batch = [tuple(np.arange(count) + 100 for count in row) for row in counts]
    padded = pad_lists(batch, 3)
    assert [array.shape for array in padded] == [(2, 1), (2, 4), (2, 65)]
    assert {array.dtype for array in padded} == {np.dtype(np.int32)}
    for level, array in enumerate(padded):
        for row, lists in enumerate(batch):
            count = len(lists[level])
            assert array[row, :count].tolist() == lists[level].tolist()
            assert (array[row, count:] == -1).all()


def test_padding_of_nothing_has_length_one() -> None:
    nothing = (np.empty(0, np.int64),) * 2
    assert [array.tolist() for array in pad_lists([nothing, nothing], 2)] == [[[-1], [-1]]] * 2
