"""Which trie nodes a request's exclusions close and its candidates open: short lists, found on the host.

A node is dead when nothing that may be returned is left below it. The decoder never spends a beam on a dead node, so
with `beam_width >= n` an answer holds exactly `min(n, number of legal items)` items (design, invariant 2).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from service.contract.allowed_nodes import AllowedNodes, BoolArray, IntArray
from service.contract.trie import Trie

Int64Array = npt.NDArray[np.int64]


class NodeLists:
    """Finds dead and living nodes for sets of leaf positions, in O(leaves · levels), whatever the catalogue's size."""

    def __init__(self, trie: Trie) -> None:
        # By depth 1 .. D - 1; searching the parent in `child_start` instead would cost most of the time.
        self._num_leaves = [np.diff(at).astype(np.int32) for at in trie.leaf_starts()[1:-1]]
        self._parent = [np.repeat(np.arange(len(at) - 1, dtype=np.int32), np.diff(at)) for at in trie.child_start[1:]]

    def dead(self, excluded: Int64Array, allowed: AllowedNodes | None = None) -> tuple[IntArray, ...]:
        """The nodes at depth 1 .. D that are dead although their parent is not (the root counts as living).

        Args:
            excluded: leaf positions, sorted, none twice; with a filter only such as it allows.
            allowed: the filter that holds as well. What it closes by itself is not listed.
        """
        lists: list[IntArray] = []
        nodes: IntArray = excluded
        dead_leaves = np.ones(len(excluded), np.int64)
        num_leaves = self._num_leaves if allowed is None else allowed.below
        for depth in range(len(self._parent) - 1, -1, -1):
            if not len(nodes):
                lists.append(nodes)
                continue
            parents = self._parent[depth][nodes]
            new = starts_run(parents)
            first = new.nonzero()[0]
            parents, dead_leaves = parents[first], np.add.reduceat(dead_leaves, first)
            is_dead = dead_leaves == num_leaves[depth][parents]
            lists.append(nodes[~is_dead[new.cumsum() - 1]])
            nodes, dead_leaves = parents[is_dead], dead_leaves[is_dead]
        return (nodes, *reversed(lists))

    def alive(self, leaves: Int64Array) -> tuple[IntArray, ...]:
        """The nodes at depth 1 .. D on the way to some of the leaf positions (sorted, none twice)."""
        lists: list[IntArray] = [leaves]
        for parent in reversed(self._parent):
            parents = parent[lists[-1]]
            lists.append(parents[starts_run(parents)] if len(parents) else parents)
        return tuple(reversed(lists))


def starts_run(values: IntArray) -> BoolArray:
    """Where a sorted, non-empty array begins a new value."""
    new = np.empty(len(values), bool)
    new[0] = True
    np.not_equal(values[1:], values[:-1], out=new[1:])
    return new


def pad_lists(batch: Sequence[tuple[IntArray, ...]], num_levels: int) -> list[npt.NDArray[np.int32]]:
    """Stack the lists of a batch into one array per level, padded with -1.

    Returns:
        `num_levels` arrays of int32 [batch, longest list], at least one column.
    """
    padded = []
    for level in range(num_levels):
        longest = max((len(lists[level]) for lists in batch), default=0)
        array = np.full((len(batch), max(1, longest)), -1, np.int32)
        for row, lists in enumerate(batch):
            array[row, : len(lists[level])] = lists[level]
        padded.append(array)
    return padded
