"""What a request may be answered with, as arrays: tables of filters, lists of nodes, the count of legal items."""

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.constraints import MAX_FILTER_SLOTS, BatchConstraints, ConstraintBuilder, FilterTables, ItemFilter
from service.contract.allowed_nodes import AllowedNodes
from service.contract.decoder_graph import FILTER_SLOTS, ONLY_LISTED, allowed_name, listed_name
from service.contract.rec_id import RecIdSpace
from service.contract.trie import Trie, build_trie

SPACE = RecIdSpace(codebook_sizes=(3, 3), popularity_size=3)
ALL_REC_IDS = list(product(range(3), repeat=3))
PLENTY = 10**9

#   0 ─ 0 ─ 0 1      leaves 0, 1 = rows 3, 1      nodes 2 + widest node 2
#     └ 2 ─ 0        leaf 2 = row 0                     3 +             2
#   1 ─ 0 ─ 0        leaf 3 = row 2                     4 +             2 = 15 bytes for a filter
TRIE = build_trie(np.array([[0, 2, 0], [0, 0, 1], [1, 0, 0], [0, 0, 0]], np.int32), SPACE)
FILTER_BYTES = 15


def allowing(*rows: int, trie: Trie = TRIE) -> AllowedNodes:
    return AllowedNodes.of(trie, np.isin(trie.leaf_to_row, rows))


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def table_row(tables: FilterTables, slot: int) -> list[list[bool]]:
    return [array[slot].tolist() for array in tables.arrays]


def as_stored(allowed: AllowedNodes) -> list[list[bool]]:
    """Behind the last node the widest node's children are closed: they are nobody's."""
    return [[*nodes.tolist(), *[False] * 2] for nodes in allowed.nodes]


@pytest.mark.parametrize(
    ("max_bytes", "capacity"),
    [
        (0, 1),
        (2 * FILTER_BYTES, 1),
        (3 * FILTER_BYTES - 1, 1),
        (3 * FILTER_BYTES, 2),
        (PLENTY, MAX_FILTER_SLOTS - 1),
    ],
)
def test_bytes_decide_how_many_filters_fit(max_bytes: int, capacity: int) -> None:
    tables = FilterTables(TRIE, max_bytes)
    assert tables.capacity == capacity
    assert [array.shape for array in tables.arrays] == [(capacity + 1, count) for count in (4, 5, 6)]
    assert sum(array.nbytes for array in tables.arrays) <= max(max_bytes, 2 * FILTER_BYTES)


def test_the_first_row_allows_everything() -> None:
    tables = FilterTables(TRIE, PLENTY)
    slots = tables.slots([None, None])
    assert (slots.tolist(), slots.dtype, tables.changed) == ([0, 0], np.int64, False)
    tables.slots([allowing(0)])
    assert all(array[0].all() for array in tables.arrays)


def test_a_filter_is_stored_once_and_found_again() -> None:
    tables = FilterTables(TRIE, PLENTY)
    one, other = allowing(0, 2), allowing(1)
    slots = tables.slots([one, None, other, one])
    assert tables.changed
    assert slots[1] == 0
    assert slots[0] == slots[3] != slots[2] != 0
    assert table_row(tables, slots[0]) == as_stored(one)
    assert table_row(tables, slots[2]) == as_stored(other)
    tables.changed = False
    again = tables.slots([other, one])
    assert (again.tolist(), tables.changed) == ([slots[2], slots[0]], False)


def test_the_least_recently_used_filter_makes_room() -> None:
    tables = FilterTables(TRIE, 3 * FILTER_BYTES)
    one, other, third = allowing(0), allowing(1), allowing(2)
    _, slot_of_other = tables.slots([one, other])
    tables.slots([one])
    tables.changed = False
    slots = tables.slots([third])
    assert (slots.tolist(), tables.changed) == ([slot_of_other], True)
    assert table_row(tables, slot_of_other) == as_stored(third)
    tables.changed = False
    tables.slots([one])
    assert not tables.changed
    tables.slots([other])
    assert tables.changed


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    fits=st.integers(1, 4),
    batches=st.lists(st.lists(st.sampled_from([None, 0, 1, 2, 3, 4, 5]), max_size=8), min_size=1, max_size=12),
)
def test_a_batch_never_evicts_its_own(fits: int, batches: list[list[int | None]]) -> None:
    """Whatever came before, every request of a batch finds its own filter in the tables."""
    filters = [allowing(*kept) for kept in ([], [0], [1, 2], [0, 1, 2, 3], [3], [0, 2])]
    tables = FilterTables(TRIE, (fits + 1) * FILTER_BYTES)
    for numbers in batches:
        different = list(dict.fromkeys(number for number in numbers if number is not None))[:fits]
        batch = [None if number not in different else filters[number] for number in numbers]
        before = [array.copy() for array in tables.arrays]
        tables.changed = False
        slots = tables.slots(batch)
        for slot, allowed in zip(slots, batch, strict=True):
            expected = [[True] * len(row) for row in table_row(tables, 0)] if allowed is None else as_stored(allowed)
            assert table_row(tables, slot) == expected
        if not tables.changed:
            assert all(np.array_equal(*pair) for pair in zip(before, tables.arrays, strict=True))


@st.composite
def requests(draw: st.DrawFn) -> tuple[Trie, list[tuple[list[int], list[int] | None, list[int] | None]]]:
    """A catalogue, and for some requests excluded rows, candidates and allowed rows, in any order, with repeats."""
    rec_ids = draw(st.lists(st.sampled_from(ALL_REC_IDS), min_size=1, max_size=27, unique=True))
    some = st.lists(st.integers(0, len(rec_ids) - 1), max_size=40)
    request = st.tuples(some, st.none() | some, st.none() | some)
    return build_trie(np.array(rec_ids, np.int32), SPACE), draw(st.lists(request, min_size=1, max_size=4))


def reachable(trie: Trie, built: BatchConstraints, builder: ConstraintBuilder, request: int) -> set[int]:
    """Item rows at the end of a walk that enters what the arrays let it enter; a dead end on the way is refused."""
    slot, entered = built.inputs[FILTER_SLOTS][request], {0}
    for depth, starts in enumerate(trie.child_start):
        listed = set(built.inputs[listed_name(depth)][request].tolist())
        table = builder.static_inputs()[allowed_name(depth)][slot]
        only = built.inputs[ONLY_LISTED][request, 0]
        children = [{c for c in range(starts[node], starts[node + 1]) if table[c]} for node in entered]
        children = [below & listed if only else below - listed for below in children]
        assert depth == 0 or all(children), "a node without anything legal below it may be entered"
        entered = set().union(*children)
    return {int(trie.leaf_to_row[leaf]) for leaf in entered}


@settings(max_examples=300, deadline=None, derandomize=True)
@given(requests())
def test_what_may_be_entered_is_what_is_legal(case: tuple[Trie, list]) -> None:
    trie, batch = case
    builder = ConstraintBuilder(trie, PLENTY)
    filters = [
        ItemFilter(
            rows(*excluded),
            None if candidates is None else rows(*candidates),
            None if kept is None else allowing(*kept, trie=trie),
        )
        for excluded, candidates, kept in batch
    ]
    built = builder.build(filters)
    for number, (excluded, candidates, kept) in enumerate(batch):
        legal = set(range(trie.num_items)) - set(excluded)
        legal &= legal if candidates is None else set(candidates)
        legal &= legal if kept is None else set(kept)
        assert reachable(trie, built, builder, number) == legal
        assert built.num_legal[number] == len(legal)


def listed(built: BatchConstraints) -> list[list[list[int]]]:
    """The lists of each level without their padding."""
    arrays = [built.inputs[listed_name(level)] for level in range(3)]
    return [[[node for node in row if node >= 0] for row in array.tolist()] for array in arrays]


def test_exclusions_that_the_filter_already_forbids_count_once() -> None:
    """Rows 0 and 2 are allowed; excluding 1 and 3 changes nothing, excluding 2 as well leaves row 0."""
    builder, kept = ConstraintBuilder(TRIE, PLENTY), allowing(0, 2)
    built = builder.build([ItemFilter(rows(3, 1), None, kept), ItemFilter(rows(2, 1, 3, 2), None, kept)])
    assert built.num_legal.tolist() == [2, 1]
    assert listed(built) == [[[], [1]], [[], []], [[], []]]


def test_candidates_in_any_order_and_more_than_once() -> None:
    builder = ConstraintBuilder(TRIE, PLENTY)
    built = builder.build([ItemFilter(candidates=rows(*given)) for given in ([0, 1], [1, 0, 1, 0, 0], [])])
    assert built.num_legal.tolist() == [2, 2, 0]
    assert listed(built) == [[[0], [0], []], [[0, 1], [0, 1], []], [[1, 2], [1, 2], []]]
    assert built.inputs[ONLY_LISTED].tolist() == [[True]] * 3


def test_a_request_with_candidates_needs_no_table() -> None:
    builder = ConstraintBuilder(TRIE, 0)
    both = [ItemFilter(rows(0), rows(0, 1, 2), allowing(*kept)) for kept in ([0, 1], [0, 2])]
    built = builder.build(both)
    assert (built.inputs[FILTER_SLOTS].tolist(), builder.tables.changed) == ([0, 0], False)
    assert listed(built)[2] == [[1], [3]]  # leaves of rows 1 and 2


def test_leaves_of_rows_are_sorted_and_none_stands_twice() -> None:
    builder = ConstraintBuilder(TRIE, PLENTY)
    assert builder.leaves(rows(2, 3, 0, 2, 3)).tolist() == [0, 2, 3]
    assert builder.leaves(rows()).tolist() == []
    assert all(a < b for a, b in pairwise(builder.leaves(rows(0, 1, 2, 3))))


@pytest.mark.parametrize(("given", "span"), [([0, 4], r"0\.\.4"), ([-1], r"-1\.\.-1"), ([2, -3, 9], r"-3\.\.9")])
@pytest.mark.parametrize("part", ["excluded", "candidates"])
def test_rows_outside_the_catalogue_are_named(part: str, given: list[int], span: str) -> None:
    builder = ConstraintBuilder(TRIE, PLENTY)
    with pytest.raises(ValueError, match=rf"item rows span {span}; the limit is 0\.\.3"):
        builder.build([ItemFilter(), ItemFilter(**{part: rows(*given)})])
