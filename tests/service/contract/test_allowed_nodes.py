"""A counted filter beside a look at every item below every node."""

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.contract.allowed_nodes import AllowedNodes
from service.contract.rec_id import RecIdSpace
from service.contract.trie import Trie, build_trie

SPACE = RecIdSpace(codebook_sizes=(3, 3), popularity_size=3)
ALL_REC_IDS = list(product(range(3), repeat=3))


@st.composite
def filters(draw: st.DrawFn) -> tuple[Trie, np.ndarray]:
    """A catalogue, and which of its leaf positions are allowed."""
    rec_ids = draw(st.lists(st.sampled_from(ALL_REC_IDS), min_size=1, max_size=27, unique=True))
    leaves = draw(st.lists(st.booleans(), min_size=len(rec_ids), max_size=len(rec_ids)))
    return build_trie(np.array(rec_ids, np.int32), SPACE), np.array(leaves)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(filters())
def test_a_node_is_allowed_when_an_item_below_it_is(case: tuple[Trie, np.ndarray]) -> None:
    trie, leaves = case
    found, rec_ids = AllowedNodes.of(trie, leaves), trie.rec_ids().tolist()
    assert len(found.nodes) == trie.num_levels
    for depth, nodes in enumerate(found.nodes, start=1):
        prefixes = sorted({tuple(rec_id[:depth]) for rec_id in rec_ids})
        below = {tuple(rec_id[:depth]) for rec_id, allowed in zip(rec_ids, leaves, strict=True) if allowed}
        assert nodes.dtype == bool
        assert nodes.tolist() == [prefix in below for prefix in prefixes]
        allowed_ids = [rec_id for rec_id, allowed in zip(rec_ids, leaves, strict=True) if allowed]
        if depth < trie.num_levels:
            counts = [sum(tuple(rec_id[:depth]) == prefix for rec_id in allowed_ids) for prefix in prefixes]
            assert found.below[depth - 1].tolist() == counts
    assert found.leaves.tolist() == leaves.tolist()
    assert found.num_leaves == leaves.sum()


def test_by_eye() -> None:
    #   0 ─ 0 ─ 0 1      leaves 0, 1
    #     └ 2 ─ 0        leaf 2
    #   1 ─ 0 ─ 0        leaf 3
    trie = build_trie(np.array([[0, 0, 0], [0, 0, 1], [0, 2, 0], [1, 0, 0]], np.int32), SPACE)
    found = AllowedNodes.of(trie, np.array([False, True, False, False]))
    assert [nodes.tolist() for nodes in found.nodes] == [[True, False], [True, False, False], [0, 1, 0, 0]]
    assert (found.num_leaves, [counts.tolist() for counts in found.below]) == (1, [[1, 0], [1, 0, 0]])
    assert found.num_bytes == 4 + 2 * 4 + 3 * 4
