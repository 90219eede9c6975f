"""The invariants of an answer (design, section 4) on the exported graph, beside exhaustive scoring of every item."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.decoder import Decoded
from tests.decoder.worlds import (
    CLOSE,
    MAX_HISTORY,
    VOCABULARIES,
    RecIds,
    Request,
    World,
    answer,
    catalogues,
    check_exhaustive,
    check_invariants,
    draw_rec_ids,
    draw_request,
    few_examples,
    same_lists,
)

MakeWorld = Callable[..., World]


@few_examples
@given(catalogue=catalogues(), extra=st.sampled_from([0, 1, 9]))
def test_a_beam_as_wide_as_the_catalogue_equals_exhaustive_scoring(
    make_world: MakeWorld, catalogue: tuple[RecIds, int], extra: int
) -> None:
    world, random = make_world(*catalogue), np.random.default_rng(catalogue[1])
    requests = [draw_request(random, world) for _ in range(6)]
    decoded = world.decode(requests, world.num_items + extra)
    for row, request in enumerate(requests):
        found = answer(decoded, row)
        check_invariants(world, request, found, world.num_items + extra)
        check_exhaustive(world, request, found)


@few_examples
@given(catalogue=catalogues(), beam_width=st.sampled_from([1, 2, 3, 7, 20]))
def test_a_narrow_beam_keeps_every_promise(
    make_world: MakeWorld, catalogue: tuple[RecIds, int], beam_width: int
) -> None:
    world, random = make_world(*catalogue), np.random.default_rng(catalogue[1])
    requests = [draw_request(random, world) for _ in range(6)]
    decoded = world.decode(requests, beam_width)
    for row, request in enumerate(requests):
        check_invariants(world, request, answer(decoded, row), beam_width)


@few_examples
@given(catalogue=catalogues(), beam_width=st.sampled_from([1, 5, 70]))
def test_onnx_equals_torch_and_alone_equals_in_any_batch(
    make_world: MakeWorld, catalogue: tuple[RecIds, int], beam_width: int
) -> None:
    world, random = make_world(*catalogue), np.random.default_rng(catalogue[1])
    requests = [draw_request(random, world) for _ in range(6)]
    together = world.decode(requests, beam_width)
    assert same_lists(together, world.torch_decode(requests, beam_width))
    for row, request in enumerate(requests):
        assert same_lists(answer(world.decode([request], beam_width), 0), answer(together, row))
    turned = world.decode(requests[::-1], beam_width)
    assert same_lists(Decoded(*(part[::-1] for part in turned)), together)
    strangers = [draw_request(random, world) for _ in range(3)]
    among_others = world.decode([*strangers, *requests, *strangers], beam_width)
    assert same_lists(Decoded(*(part[3:9] for part in among_others)), together)


def test_six_hundred_exclusions(make_world: MakeWorld) -> None:
    """Most of the catalogue seen, beside a neighbour who has seen nothing and one who has seen it all but one."""
    random = np.random.default_rng(0)
    world = make_world(draw_rec_ids(random, VOCABULARIES, 700))
    seen = random.permutation(700)[:600].tolist()
    even = frozenset(range(0, 700, 2))
    requests = [
        Request(seen[:9], seen),
        Request([]),
        Request([3], [row for row in range(700) if row != 42]),
        Request(seen[:9], seen, None, even),
        Request(seen[:9], seen, range(100, 500), even),
    ]
    decoded = world.decode(requests, 50)
    for row, request in enumerate(requests):
        check_invariants(world, request, answer(decoded, row), 50)
    assert answer(decoded, 2).leaves.tolist() == [world.leaf_of[42], *[-1] * 49]
    whole = world.decode(requests[:1], 700)
    assert whole.alive.sum() == 100
    check_exhaustive(world, requests[0], answer(whole, 0))


def test_a_wide_beam_finds_the_best_of_a_large_catalogue(make_world: MakeWorld) -> None:
    """Not promised for every item, but a beam of 100 that lost the best of 700 would not be searching."""
    world = make_world(draw_rec_ids(np.random.default_rng(1), VOCABULARIES, 700))
    found = world.decode([Request([5, 9, 600])], 100)
    best = world.exhaustive([5, 9, 600]).log_prob.argsort()[::-1][:20]
    assert len(set(best) & set(found.leaves[0])) >= 15


@pytest.mark.parametrize("tokens", [(1, 1, 64), (8, 1, 1), (1, 16, 1)])
def test_a_catalogue_that_branches_at_one_level_only(make_world: MakeWorld, tokens: tuple[int, ...]) -> None:
    count = int(np.prod(tokens))
    world = make_world(draw_rec_ids(np.random.default_rng(2), tokens, count))
    requests = [Request([0], [1]), Request([0], [1], None, frozenset([1, 3])), Request([0], [1], [3, 2, 1])]
    decoded = world.decode(requests, count)
    for row, request in enumerate(requests):
        check_invariants(world, request, answer(decoded, row), count)
    assert decoded.alive.sum(axis=1).tolist() == [count - 1, 1, 2]


@pytest.mark.parametrize("length", [0, 1, MAX_HISTORY, MAX_HISTORY + 1, 50])
def test_a_history_of_any_length(make_world: MakeWorld, length: int) -> None:
    world = make_world(draw_rec_ids(np.random.default_rng(7), VOCABULARIES, 60))
    request = Request(list(range(length)))
    check_exhaustive(world, request, answer(world.decode([request], 60), 0))


def test_the_most_recent_items_of_a_history_count(make_world: MakeWorld) -> None:
    world = make_world(draw_rec_ids(np.random.default_rng(3), VOCABULARIES, 30))
    recent = [4, 8, 15, 16, 23, 7]
    histories = [[1, 2, 3, *recent], recent, recent[::-1], [1, *recent[1:]]]
    score = world.decode([Request(history) for history in histories], 30).score
    assert np.array_equal(score[0], score[1])
    assert not np.allclose(score[1], score[2], atol=1e-3)  # this generator has an order
    assert not np.allclose(score[1], score[3], atol=1e-3)


def test_the_probabilities_of_the_catalogue_sum_to_one(make_world: MakeWorld) -> None:
    world = make_world(draw_rec_ids(np.random.default_rng(5), VOCABULARIES, 60))
    decoded = world.decode([Request([1, 2, 3]), Request([])], 60)
    assert np.allclose(np.exp(decoded.log_prob).sum(axis=1), 1.0, atol=CLOSE)


def test_one_item(make_world: MakeWorld) -> None:
    world = make_world(np.array([[7, 15, 63]], np.int32))
    requests = [Request([]), Request([0, 0]), Request([0], [0]), Request([], [], [0, 0]), Request([], [], [])]
    requests += [Request([], [], None, frozenset()), Request([], [], [0], frozenset([0]))]
    decoded = world.decode(requests, 3)
    found, nothing = [0, -1, -1], [-1, -1, -1]
    assert decoded.leaves.tolist() == [found, found, nothing, found, nothing, nothing, found]
    assert np.allclose(decoded.log_prob[:2, 0], 0.0, atol=1e-6)  # the only item is certain


def test_a_row_that_is_excluded_twice_is_excluded_once(make_world: MakeWorld) -> None:
    world = make_world(np.array([[0, 0, 0], [0, 0, 1], [1, 0, 0]], np.int32))
    assert set(world.decode([Request([], [2, 2])], 3).leaves[0].tolist()) == {0, 1, -1}


def test_alive_says_which_slots_hold_an_item() -> None:
    leaves = np.array([[4, 0, -1], [-1, -1, -1]])
    decoded = Decoded(leaves, np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32))
    assert decoded.alive.tolist() == [[True, True, False], [False] * 3]
