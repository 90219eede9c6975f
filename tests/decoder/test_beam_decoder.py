"""The invariants of an answer (design, section 4) on the exported graph, beside exhaustive scoring of every item."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offline.errors import JobError
from offline.export import set_dense_weight
from service.contract.trie import build_trie
from service.cuda import cuda_device_present
from service.decoder import BeamDecoder, Decoded, DecoderError

VOCABULARIES = (8, 16, 64)
MAX_HISTORY = 6
CLOSE = 1e-4
"""Two runs of the same sums differ by less; lists may differ only between candidates nearer than that."""

MakeWorld = Callable[..., Any]
few_examples = settings(max_examples=25, deadline=None, derandomize=True)


class Request(NamedTuple):
    history: list[int]
    excluded: list[int]


def draw_rec_ids(random: np.random.Generator, tokens: tuple[int, ...], num_items: int) -> np.ndarray:
    """Distinct Rec-IDs over the first tokens of each level, in random row order."""
    flat = random.choice(int(np.prod(tokens)), size=min(num_items, int(np.prod(tokens))), replace=False)
    return np.stack(np.unravel_index(flat, tokens), axis=1).astype(np.int32)


@st.composite
def catalogues(draw: st.DrawFn, largest: int = 60) -> tuple[np.ndarray, int]:
    """Rec-IDs and a seed; every level branches not at all, a little, or as widely as its vocabulary allows."""
    tokens = tuple(draw(st.sampled_from([1, 2, size])) for size in VOCABULARIES)
    seed = draw(st.integers(0, 10_000))
    return draw_rec_ids(np.random.default_rng(seed), tokens, draw(st.integers(1, largest))), seed


def draw_request(random: np.random.Generator, world: Any) -> Request:
    """A history from empty to beyond the maximum, with repeats; exclusions from none to all, whole subtrees too."""
    history = random.integers(0, world.num_items, random.integers(0, MAX_HISTORY + 4)).tolist()
    rows = random.permutation(world.num_items)
    subtree = [row for row in range(world.num_items) if world.trie.rec_ids()[world.leaf_of[row]][0] == 0]
    kinds = [[], rows[:1], rows[1:], rows, rows[: len(rows) // 2], rows[: 9 * len(rows) // 10], subtree, history]
    return Request(history, list(map(int, kinds[random.integers(len(kinds))])))


def answer(decoded: Decoded, row: int) -> Decoded:
    return Decoded(*(part[row] for part in decoded))


def check_invariants(world: Any, request: Request, found: Decoded, beam_width: int) -> None:
    """1, 2 and 3 of the design, and that every score is the item's own."""
    legal = set(range(world.num_items)) - {world.leaf_of[row] for row in request.excluded}
    count = min(beam_width, len(legal))
    alive, dead = found.leaves[:count].tolist(), found.leaves[count:]
    assert len(found.leaves) == beam_width
    assert set(alive) <= legal, "an excluded item, or none of the catalogue"
    assert len(set(alive)) == count, "an item twice, or a dead slot among the living"
    assert (dead == -1).all()
    expected = world.exhaustive(request.history)
    assert np.allclose(found.score[:count], expected.score[alive], atol=CLOSE)
    assert np.allclose(found.log_prob[:count], expected.log_prob[alive], atol=CLOSE)
    assert (np.diff(found.score[:count]) <= 0).all()


def same_lists(one: Decoded, other: Decoded) -> bool:
    """Equal but for swaps of candidates whose scores are closer than float32 can tell."""
    alive = one.leaves >= 0
    if not np.array_equal(alive, other.leaves >= 0) or not np.allclose(one.score[alive], other.score[alive], atol=1e-5):
        return False
    # Dead slots repeat one score, but there both lists hold -1.
    to_next = np.abs(np.diff(one.score, axis=-1))
    far = np.full((*one.score.shape[:-1], 1), np.inf)
    to_nearest = np.minimum(np.concatenate([far, to_next], axis=-1), np.concatenate([to_next, far], axis=-1))
    return bool((to_nearest[one.leaves != other.leaves] < 1e-5).all())


@few_examples
@given(catalogue=catalogues(), extra=st.sampled_from([0, 1, 9]))
def test_a_beam_as_wide_as_the_catalogue_equals_exhaustive_scoring(
    make_world: MakeWorld, catalogue: tuple[np.ndarray, int], extra: int
) -> None:
    world, random = make_world(*catalogue), np.random.default_rng(catalogue[1])
    requests = [draw_request(random, world) for _ in range(4)]
    decoded = world.decode(*zip(*requests, strict=True), world.num_items + extra)
    for row, request in enumerate(requests):
        found = answer(decoded, row)
        check_invariants(world, request, found, world.num_items + extra)
        legal = sorted(set(range(world.num_items)) - {world.leaf_of[item] for item in request.excluded})
        assert sorted(leaf for leaf in found.leaves if leaf >= 0) == legal
        best_first = np.sort(world.exhaustive(request.history).score[legal])[::-1]
        assert np.allclose(found.score[: len(legal)], best_first, atol=CLOSE)


@few_examples
@given(catalogue=catalogues(), beam_width=st.sampled_from([1, 2, 3, 7, 20]))
def test_a_narrow_beam_keeps_every_promise(
    make_world: MakeWorld, catalogue: tuple[np.ndarray, int], beam_width: int
) -> None:
    world, random = make_world(*catalogue), np.random.default_rng(catalogue[1])
    requests = [draw_request(random, world) for _ in range(4)]
    decoded = world.decode(*zip(*requests, strict=True), beam_width)
    for row, request in enumerate(requests):
        check_invariants(world, request, answer(decoded, row), beam_width)


@few_examples
@given(catalogue=catalogues(), beam_width=st.sampled_from([1, 5, 70]))
def test_onnx_equals_torch_and_alone_equals_in_a_batch(
    make_world: MakeWorld, catalogue: tuple[np.ndarray, int], beam_width: int
) -> None:
    world, random = make_world(*catalogue), np.random.default_rng(catalogue[1])
    requests = [draw_request(random, world) for _ in range(6)]
    together = world.decode(*zip(*requests, strict=True), beam_width)
    assert same_lists(together, world.torch_decode(*zip(*requests, strict=True), beam_width))
    for row, (history, excluded) in enumerate(requests):
        assert same_lists(answer(world.decode([history], [excluded], beam_width), 0), answer(together, row))
    turned = world.decode(*zip(*requests[::-1], strict=True), beam_width)
    assert same_lists(Decoded(*(part[::-1] for part in turned)), together)


def test_six_hundred_exclusions(make_world: MakeWorld) -> None:
    """Most of the catalogue seen, beside a neighbour who has seen nothing and one who has seen it all but one."""
    random = np.random.default_rng(0)
    world = make_world(draw_rec_ids(random, VOCABULARIES, 700))
    seen = random.permutation(700)[:600].tolist()
    requests = [Request(seen[:9], seen), Request([], []), Request([3], [row for row in range(700) if row != 42])]
    decoded = world.decode(*zip(*requests, strict=True), 50)
    for row, request in enumerate(requests):
        check_invariants(world, request, answer(decoded, row), 50)
    assert answer(decoded, 2).leaves.tolist() == [world.leaf_of[42], *[-1] * 49]
    whole = world.decode([requests[0].history], [seen], 700)
    assert (whole.leaves >= 0).sum() == 100


def test_a_wide_beam_finds_the_best_of_a_large_catalogue(make_world: MakeWorld) -> None:
    """Not promised for every item, but a beam of 100 that lost the best of 700 would not be searching."""
    world = make_world(draw_rec_ids(np.random.default_rng(1), VOCABULARIES, 700))
    found = world.decode([[5, 9, 600]], [[]], 100)
    best = world.exhaustive([5, 9, 600]).log_prob.argsort()[::-1][:20]
    assert len(set(best) & set(found.leaves[0])) >= 15


@pytest.mark.parametrize("tokens", [(1, 1, 64), (8, 1, 1), (1, 16, 1)])
def test_a_catalogue_that_branches_at_one_level_only(make_world: MakeWorld, tokens: tuple[int, ...]) -> None:
    count = int(np.prod(tokens))
    world = make_world(draw_rec_ids(np.random.default_rng(2), tokens, count))
    found = answer(world.decode([[0]], [[1]], count), 0)
    check_invariants(world, Request([0], [1]), found, count)
    assert found.leaves[-1] == -1


def test_the_most_recent_items_of_a_history_count(make_world: MakeWorld) -> None:
    world = make_world(draw_rec_ids(np.random.default_rng(3), VOCABULARIES, 30))
    recent = [4, 8, 15, 16, 23, 7]
    score = world.decode([[1, 2, 3, *recent], recent, recent[::-1], [1, *recent[1:]]], [[]] * 4, 30).score
    assert np.array_equal(score[0], score[1])
    assert not np.allclose(score[1], score[2], atol=1e-3)  # this generator has an order
    assert not np.allclose(score[1], score[3], atol=1e-3)


def test_a_score_does_not_depend_on_what_is_left_out(make_world: MakeWorld) -> None:
    world = make_world(draw_rec_ids(np.random.default_rng(4), (4, 4, 4), 40))
    free, filtered = (answer(world.decode([[1, 2]], [rows], 40), 0) for rows in ([], list(range(0, 40, 3))))
    before = dict(zip(free.leaves.tolist(), free.score.tolist(), strict=True))
    for leaf, score in zip(filtered.leaves.tolist(), filtered.score.tolist(), strict=True):
        assert leaf == -1 or score == pytest.approx(before[leaf], abs=CLOSE)


def test_the_probabilities_of_the_catalogue_sum_to_one(make_world: MakeWorld) -> None:
    world = make_world(draw_rec_ids(np.random.default_rng(5), VOCABULARIES, 60))
    decoded = world.decode([[1, 2, 3], []], [[], []], 60)
    assert np.allclose(np.exp(decoded.log_prob).sum(axis=1), 1.0, atol=1e-4)


def test_one_item(make_world: MakeWorld) -> None:
    world = make_world(np.array([[7, 15, 63]], np.int32))
    decoded = world.decode([[], [0, 0], [0]], [[], [], [0]], 3)
    assert decoded.leaves.tolist() == [[0, -1, -1], [0, -1, -1], [-1, -1, -1]]
    assert np.allclose(decoded.log_prob[:2, 0], 0.0, atol=1e-6)  # the only item is certain


def test_a_row_that_is_excluded_twice_is_excluded_once(make_world: MakeWorld) -> None:
    world = make_world(np.array([[0, 0, 0], [0, 0, 1], [1, 0, 0]], np.int32))
    assert set(world.decode([[]], [[2, 2]], 3).leaves[0].tolist()) == {0, 1, -1}


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_another_dense_weight_equals_an_export_with_it(make_world: MakeWorld, onnx_bytes: bytes, weight: float) -> None:
    world = make_world(draw_rec_ids(np.random.default_rng(6), VOCABULARIES, 40))
    expected = world.torch_decode([[1, 2, 3]], [[4]], 40, dense_weight=weight)
    assert not same_lists(world.decode([[1, 2, 3]], [[4]], 40), expected)
    once = set_dense_weight(onnx_bytes, weight)
    world.decoder = world.decoder_of(once)
    assert same_lists(world.decode([[1, 2, 3]], [[4]], 40), expected)
    assert set_dense_weight(set_dense_weight(once, 7.0), weight) == once


def test_a_graph_without_the_weight_is_named() -> None:
    empty = onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], []))
    with pytest.raises(JobError, match="has no constant 'dense_weight'; export it"):
        set_dense_weight(empty.SerializeToString(), 1.0)


@pytest.fixture
def world(make_world: MakeWorld) -> Any:
    return make_world(np.array([[0, 0, 0], [0, 0, 1], [1, 0, 0]], np.int32))


@pytest.mark.parametrize("shape", [(2, 5), (4, 5), (3, 6)])
def test_vectors_of_another_shape_are_refused(world: Any, shape: tuple[int, int]) -> None:
    world.vectors = np.zeros(shape, np.float32)
    with pytest.raises(DecoderError, match=rf"shape \({shape[0]}, {shape[1]}\).*need \(3, 5\); publish the run again"):
        world.decoder_of(world.onnx)


def test_a_graph_for_vectors_of_another_width_is_refused(world: Any) -> None:
    wider = replace(world.settings, vector_dim=6)
    vectors = np.zeros((3, 6), np.float32)
    with pytest.raises(DecoderError, match=r"vectors of 5 columns, the release has 6; export and publish"):
        BeamDecoder(world.onnx, trie=world.trie, item_vectors=vectors, settings=wider, device="cpu")


def test_a_graph_of_other_levels_is_refused(world: Any) -> None:
    shorter = replace(world.settings, codebook_sizes=(8,))
    trie = build_trie(np.array([[0, 0], [0, 1], [1, 0]], np.int32), shorter.space)
    with pytest.raises(DecoderError, match=r"other levels: .*'dead_2'.*export and publish the run again"):
        BeamDecoder(world.onnx, trie=trie, item_vectors=world.vectors, settings=shorter, device="cpu")


def test_bytes_that_are_no_graph_are_refused(world: Any) -> None:
    with pytest.raises(DecoderError, match="cannot open the release's decoder"):
        world.decoder_of(b"no onnx")


@pytest.mark.skipif(cuda_device_present(), reason="this machine has a CUDA device")
def test_cuda_on_a_machine_without_it_is_refused_with_the_cure(world: Any) -> None:
    arrays = {"trie": world.trie, "item_vectors": world.vectors, "settings": world.settings}
    with pytest.raises(DecoderError, match=r"device cuda was asked for.*set MMGREC_DEVICE=cpu"):
        BeamDecoder(world.onnx, **arrays, device="cuda")
    assert BeamDecoder(world.onnx, **arrays, device="auto").provider == "CPUExecutionProvider"


@pytest.mark.parametrize(
    ("histories", "excluded", "beam_width", "message"),
    [
        ([], [], 3, "0 histories, 0 exclusion lists and beam_width=3: give at least one history"),
        ([[0]], [], 3, "1 histories, 0 exclusion lists"),
        ([[0]], [[]], 0, "beam_width=0.* a beam width of at least 1"),
        ([[0, 3]], [[]], 3, r"item rows span 0\.\.3; the limit is 0\.\.2"),
        ([[-1]], [[]], 3, r"item rows span -1\.\.-1; the limit is 0\.\.2"),
        ([[0]], [[1, 3]], 3, r"item rows span 1\.\.3; the limit is 0\.\.2"),
        ([[0]], [[-1]], 3, r"item rows span -1\.\.-1; the limit is 0\.\.2"),
    ],
)
def test_requests_that_cannot_be_decoded(
    world: Any, histories: list[Any], excluded: list[Any], beam_width: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        world.decode(histories, excluded, beam_width)
