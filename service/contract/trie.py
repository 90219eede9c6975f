"""The Rec-IDs of one catalogue as a prefix tree in flat arrays.

Items are sorted by Rec-ID; an item's place in that order is its *leaf position*. Nodes of one depth are numbered in the
same order, so the children of a node are contiguous and every node covers a contiguous range of leaf positions. Depth 0
is the root, depth `num_levels` the leaves (node number = leaf position).

Letters: D = num_levels, N_d = number of nodes at depth d, N = N_D = number of items.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from service.contract.rec_id import Int32Array, RecIdSpace, pack_rec_ids


@dataclass(frozen=True, eq=False)
class Trie:
    """Flat arrays of a prefix tree over Rec-IDs; O(num_items) memory.

    Attributes:
        child_start: D arrays; child_start[d] is int32 [N_d + 1]: node i of depth d has the nodes
            child_start[d][i] .. child_start[d][i + 1] of depth d + 1 as children.
        tokens: D arrays; tokens[d] is int32 [N_{d+1}]: the token that leads to each node of depth d + 1.
        leaf_to_row: int32 [N], the item row at each leaf position.
    """

    child_start: tuple[Int32Array, ...]
    tokens: tuple[Int32Array, ...]
    leaf_to_row: Int32Array

    @property
    def num_levels(self) -> int:
        """D, the length of a Rec-ID."""
        return len(self.tokens)

    @property
    def num_items(self) -> int:
        """N, the number of leaves."""
        return len(self.leaf_to_row)

    @property
    def widths(self) -> tuple[int, ...]:
        """The largest number of children of a node at depth 0 .. D - 1: what one beam step has to look at."""
        return tuple(int(np.diff(starts).max()) for starts in self.child_start)

    def padded_tokens(self) -> tuple[Int32Array, ...]:
        """`tokens` with as many zeros behind each level as its widest node has children.

        So a window of that width may be read from any node's first child on without leaving the array.
        """
        return tuple(np.pad(tokens, (0, width)) for tokens, width in zip(self.tokens, self.widths, strict=True))

    @property
    def num_bytes(self) -> int:
        """Memory of all arrays."""
        return self.leaf_to_row.nbytes + sum(array.nbytes for array in (*self.child_start, *self.tokens))

    def leaf_starts(self) -> tuple[npt.NDArray[np.int64], ...]:
        """First leaf position of every node: D + 1 arrays [N_d + 1] for depth 0 .. D."""
        below = np.arange(self.num_items + 1, dtype=np.int64)
        starts: list[npt.NDArray[np.int64]] = [below]
        for child_start in reversed(self.child_start):
            below = below[child_start]
            starts.append(below)
        return tuple(reversed(starts))

    def row_to_leaf(self) -> npt.NDArray[np.int64]:
        """Leaf position of every item row, int64 [N]: the inverse of `leaf_to_row`. Made once; not to be changed."""
        return self._leaf_of_row

    @cached_property
    def _leaf_of_row(self) -> npt.NDArray[np.int64]:
        leaves = np.empty(self.num_items, np.int64)
        leaves[self.leaf_to_row] = np.arange(self.num_items)
        return leaves

    def rec_ids(self) -> Int32Array:
        """Rec-IDs by leaf position, int32 [N, D]: the inverse of `build_trie`."""
        columns = [self.tokens[-1]]
        leaf_starts = self.leaf_starts()
        for depth in range(1, self.num_levels):
            columns.append(np.repeat(self.tokens[depth - 1], np.diff(leaf_starts[depth])))
        return np.stack([*columns[1:], columns[0]], axis=1).astype(np.int32)

    def rec_ids_at(self, leaves: npt.NDArray[np.int64]) -> Int32Array:
        """Rec-IDs of a few leaf positions, int32 [len(leaves), D]; what `rec_ids` gives for all, in O(D log N) each."""
        nodes = self.ancestors(leaves)
        return np.stack([tokens[at] for tokens, at in zip(self.tokens, nodes, strict=True)], axis=1)

    def ancestors(self, leaves: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Nodes on the way to leaf positions: int64 [D, len(leaves)], for depth 1 .. D (the leaves themselves)."""
        nodes = [leaves]
        for child_start in self.child_start[:0:-1]:
            nodes.append(np.searchsorted(child_start, nodes[-1], side="right") - 1)
        return np.stack(nodes[::-1])

    def arrays(self) -> dict[str, Int32Array]:
        """Names and arrays as a release stores them; `Trie.from_arrays` is the inverse."""
        named: dict[str, Int32Array] = {"trie.leaf_to_row": self.leaf_to_row}
        for depth, (starts, tokens) in enumerate(zip(self.child_start, self.tokens, strict=True)):
            named[f"trie.child_start.{depth}"] = starts
            named[f"trie.tokens.{depth}"] = tokens
        return named

    @staticmethod
    def from_arrays(named: Mapping[str, npt.NDArray[np.generic]], space: RecIdSpace) -> "Trie":
        """Rebuild and validate a trie.

        Raises:
            ValueError: an array is missing, or the arrays disagree with each other or with `space`.
        """
        try:
            starts = tuple(named[f"trie.child_start.{depth}"].astype(np.int32) for depth in range(space.num_levels))
            tokens = tuple(named[f"trie.tokens.{depth}"].astype(np.int32) for depth in range(space.num_levels))
            trie = Trie(starts, tokens, named["trie.leaf_to_row"].astype(np.int32))
        except KeyError as error:
            raise ValueError(f"trie array {error} is missing; expected {space.num_levels} levels; republish") from error
        _check_trie(trie, space)
        return trie


def build_trie(rec_ids: Int32Array, space: RecIdSpace) -> Trie:
    """Build the trie of a catalogue in vectorised numpy.

    Args:
        rec_ids: int32 [num_items, num_levels], one row per item row, no two equal.
        space: the sizes of the levels.

    Raises:
        ValueError: no items, an illegal token, or two items with the same Rec-ID.
    """
    if len(rec_ids) == 0:
        raise ValueError("there are no Rec-IDs; a trie needs at least one item")
    keys, leaf_to_row = _sort_keys(pack_rec_ids(rec_ids, space))
    same = np.flatnonzero(keys[1:] == keys[:-1])
    if len(same):
        first, second = leaf_to_row[same[0]], leaf_to_row[same[0] + 1]
        raise ValueError(
            f"item rows {first} and {second} share the Rec-ID {rec_ids[first].tolist()}; it must be unique"
        )
    child_start: list[Int32Array] = []
    tokens: list[Int32Array] = []
    parent_first = np.zeros(1, np.int64)  # leaf position of the first leaf of each node at the depth above
    shift = sum(space.token_bits)
    for bits in space.token_bits:
        shift -= bits
        prefixes = keys >> shift
        first = np.flatnonzero(np.concatenate(([True], prefixes[1:] != prefixes[:-1])))
        starts = np.searchsorted(first, np.append(parent_first, len(keys)))
        child_start.append(starts.astype(np.int32))
        tokens.append((prefixes[first] & ((1 << bits) - 1)).astype(np.int32))
        parent_first = first
    return Trie(tuple(child_start), tuple(tokens), leaf_to_row.astype(np.int32))


def _sort_keys(keys: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Sorted keys and their rows. One plain sort of (key, row) packed together is far faster than argsort."""
    row_bits = max(1, (len(keys) - 1).bit_length())
    if int(keys.max()).bit_length() + row_bits > 62:
        order = np.argsort(keys, kind="stable")
        return keys[order], order
    packed = np.sort((keys << row_bits) | np.arange(len(keys)))
    return packed >> row_bits, packed & ((1 << row_bits) - 1)


def _check_trie(trie: Trie, space: RecIdSpace) -> None:
    above = 1
    for depth, (starts, tokens) in enumerate(zip(trie.child_start, trie.tokens, strict=True)):
        counts = np.diff(starts)
        if len(starts) != above + 1 or starts[0] != 0 or starts[-1] != len(tokens) or (counts < 1).any():
            raise ValueError(
                f"trie.child_start.{depth} does not partition {len(tokens)} nodes among {above}; republish"
            )
        if tokens.min() < 0 or tokens.max() >= space.vocabulary_sizes[depth]:
            limit = space.vocabulary_sizes[depth] - 1
            raise ValueError(f"trie.tokens.{depth} spans {tokens.min()}..{tokens.max()}; the limit is 0..{limit}")
        rising = np.diff(tokens) > 0
        rising[starts[1:-1] - 1] = True  # the step from one parent's last child to the next parent's first
        if not rising.all():
            raise ValueError(f"trie.tokens.{depth} does not rise among the children of a node; republish")
        above = len(tokens)
    if len(trie.leaf_to_row) != above or not np.array_equal(np.sort(trie.leaf_to_row), np.arange(above)):
        raise ValueError(f"trie.leaf_to_row is no permutation of {above} item rows; republish")
