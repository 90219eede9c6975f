"""Filters inside the search: what they leave is found, whatever else the batch asks, and no score depends on them."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.constraints import FilterTables, ItemFilter
from service.decoder import Decoded
from tests.decoder.worlds import (
    CLOSE,
    VOCABULARIES,
    RecIds,
    Request,
    World,
    answer,
    as_rows,
    catalogues,
    check_exhaustive,
    check_invariants,
    draw_part,
    draw_rec_ids,
    few_examples,
    same_lists,
)

MakeWorld = Callable[..., World]
WHOLE = 700


@pytest.fixture(scope="module")
def large(make_world: MakeWorld) -> World:
    return make_world(draw_rec_ids(np.random.default_rng(8), VOCABULARIES, WHOLE))


def found_rows(world: World, decoded: Decoded, request: int = 0) -> set[int]:
    alive = decoded.leaves[request][decoded.alive[request]]
    return {world.leaf_to_row[leaf] for leaf in alive}


@few_examples
@given(catalogue=catalogues(), beam_width=st.sampled_from([1, 4, 30]), kept=st.sampled_from([0, 1, 2, -1]))
def test_a_filter_that_leaves_few_or_nearly_all(
    make_world: MakeWorld, catalogue: tuple[RecIds, int], beam_width: int, kept: int
) -> None:
    """0, 1, 2 and n - 1 items, left by the filter, by exclusions, by candidates, and by all three together."""
    world, random = make_world(*catalogue), np.random.default_rng(catalogue[1])
    count = min(kept, world.num_items) if kept >= 0 else world.num_items - 1
    rows = random.permutation(world.num_items).tolist()
    left, others = rows[:count], rows[count:]
    requests = [
        Request([0], [], None, frozenset(left)),
        Request([0], others),
        Request([0], [], left),
        Request([0], others, [*left, *others[:1]], frozenset([*left, *others[1:]])),
        Request([0], others, None, frozenset(left)),  # the filter forbids every exclusion already
    ]
    decoded = world.decode(requests, beam_width)
    for row, request in enumerate(requests):
        assert world.legal(request) == {world.leaf_of[item] for item in left}
        check_invariants(world, request, answer(decoded, row), beam_width)
        assert same_lists(answer(decoded, row), answer(decoded, 0))


@few_examples
@given(catalogue=catalogues())
def test_a_score_does_not_depend_on_what_is_left_out(make_world: MakeWorld, catalogue: tuple[RecIds, int]) -> None:
    """The same number as without any filter, so comparable between requests and independent of the reference."""
    world, random = make_world(*catalogue), np.random.default_rng(catalogue[1])
    excluded, candidates, allowed = (draw_part(random, world) for _ in range(3))
    requests = [
        Request([0, 0]),
        Request([0, 0], excluded),
        Request([0, 0], (), candidates),
        Request([0, 0], (), None, frozenset(allowed)),
        Request([0, 0], excluded, candidates, frozenset(allowed)),
    ]
    decoded = world.decode(requests, world.num_items)
    before = dict(zip(decoded.leaves[0].tolist(), zip(decoded.log_prob[0], decoded.score[0], strict=True), strict=True))
    for row in range(1, 5):
        for leaf, *scores in zip(*(part[row].tolist() for part in decoded), strict=True):
            assert leaf == -1 or scores == pytest.approx(before[leaf], abs=1e-5)


def test_a_filter_no_beam_is_wasted_on(large: World) -> None:
    """Ten allowed items among 700, those that the model likes least: a beam of ten finds them all."""
    worst = large.exhaustive([5, 9]).log_prob.argsort()[:10]
    rows = [large.leaf_to_row[leaf] for leaf in worst]
    requests = [Request([5, 9], (), None, frozenset(rows)), Request([5, 9], (), rows)]
    requests += [Request([5, 9], [row for row in range(WHOLE) if row not in rows])]
    decoded = large.decode(requests, 10)
    for row, request in enumerate(requests):
        assert found_rows(large, decoded, row) == set(rows)
        check_exhaustive(large, request, answer(decoded, row))


def test_candidates_are_not_widened_by_their_neighbours(large: World) -> None:
    decoded = large.decode([Request([1], (), [7]), Request([1]), Request([1], (), [])], 20)
    assert found_rows(large, decoded) == {7}
    assert decoded.alive.sum(axis=1).tolist() == [1, 20, 0]


def test_filters_come_and_go_in_the_same_decoder(large: World) -> None:
    """Table rows are reused; what stood in them before must not show."""
    decoder = large.decoder_of(large.onnx, max_table_bytes=0)
    for start in (0, 7, 3, 7, 0):
        kept = frozenset(range(start, WHOLE, 9))
        request = Request([start], (), None, kept)
        decoded = large.decode([request], 80, decoder)
        assert found_rows(large, decoded) <= kept
        assert decoded.alive.sum() == len(kept)
        free = large.decode([Request([start])], 80, decoder)
        assert same_lists(free, large.decode([Request([start])], 80))


@pytest.mark.parametrize("max_table_bytes", [0, 8000, 10**9])
def test_more_filters_than_the_tables_hold(large: World, max_table_bytes: int) -> None:
    """Twelve different filters in one batch, some of them twice, between requests without one."""
    decoder = large.decoder_of(large.onnx, max_table_bytes=max_table_bytes)
    assert decoder.constraints.tables.capacity == FilterTables(large.trie, max_table_bytes).capacity
    kept = [None if number % 4 == 3 else frozenset(range(number % 12, WHOLE, 12)) for number in range(20)]
    requests = [Request([number], [number], None, allowed) for number, allowed in enumerate(kept)]
    decoded = large.decode(requests, 15, decoder)
    assert same_lists(decoded, large.decode(requests, 15))
    for row in (0, 3, 12, 19):
        check_invariants(large, requests[row], answer(decoded, row), 15)


def test_the_tables_are_as_full_as_they_were_set(large: World) -> None:
    """What the test above calls 0, few and many: one filter, fewer than the twelve, and all of them."""
    capacities = [
        large.decoder_of(large.onnx, max_table_bytes=limit).constraints.tables.capacity for limit in (0, 8000)
    ]
    assert capacities[0] == 1
    assert 1 < capacities[1] < 12
    assert large.decoder.constraints.tables.capacity >= 12


def test_equal_filters_that_are_different_objects(large: World) -> None:
    """The tables know filters by identity; a caller that counts one anew each time still gets the right answer."""
    decoder = large.decoder_of(large.onnx, max_table_bytes=0)
    kept = frozenset(range(0, WHOLE, 50))
    filters = []
    for _ in range(3):
        large._filters.pop(kept, None)
        filters.append(large.item_filter(Request([], (), None, kept)))
    assert len({id(each.allowed) for each in filters}) == 3
    decoded = decoder.decode([as_rows([3])] * 3, filters, beam_width=20)
    assert decoded.alive.sum(axis=1).tolist() == [14] * 3
    assert (decoded.leaves == decoded.leaves[0]).all()


def test_an_answer_is_not_overwritten_by_the_next(large: World) -> None:
    first = large.decode([Request([1], (), None, frozenset(range(30)))], 10)
    kept = Decoded(*(part.copy() for part in first))
    large.decode([Request([2])], 10)
    assert all(np.array_equal(*parts) for parts in zip(first, kept, strict=True))


def test_exclusions_in_any_order_and_type_of_list(large: World) -> None:
    rows = np.random.default_rng(9).permutation(WHOLE)[:300]
    answers = [
        large.decoder.decode([as_rows([4])], [ItemFilter(excluded=given)], beam_width=50)
        for given in (rows, rows[::-1], np.sort(rows), np.concatenate([rows, rows]), rows.astype(np.int32))
    ]
    assert all(np.allclose(each.score, answers[0].score, atol=CLOSE) for each in answers)
    assert all(np.array_equal(each.leaves, answers[0].leaves) for each in answers)


@pytest.mark.parametrize("wrong", [{"history": [WHOLE]}, {"excluded": [WHOLE]}, {"candidates": [-1]}])
def test_a_batch_that_is_refused_changes_no_table(large: World, wrong: dict[str, list[int]]) -> None:
    """Else the device would lack a filter that the host believes to be there."""
    tables = large.decoder.constraints.tables
    before = [array.copy() for array in tables.arrays]
    fresh = Request([1], (), None, frozenset(range(3, WHOLE, 11)))
    with pytest.raises(ValueError, match="item rows span"):
        large.decode([fresh, Request([0])._replace(**wrong)], 10)
    assert all(np.array_equal(*pair) for pair in zip(before, tables.arrays, strict=True))
    assert found_rows(large, large.decode([fresh], 100)) == fresh.allowed
