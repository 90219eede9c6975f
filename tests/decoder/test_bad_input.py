"""Graphs, arrays and requests that do not fit, and scores that are not finite: refused, with the cure."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import pytest

from offline.errors import JobError
from offline.export import set_dense_weight
from service.constraints import ItemFilter
from service.contract.trie import build_trie
from service.decoder import BeamDecoder
from service.device import cuda_device_present
from service.onnx_session import DecoderError
from tests.decoder.worlds import DENSE_WEIGHT, VOCABULARIES, Request, World, as_rows, draw_rec_ids, same_lists

MakeWorld = Callable[..., World]


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return make_world(np.array([[0, 0, 0], [0, 0, 1], [1, 0, 0]], np.int32))


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_another_dense_weight_equals_an_export_with_it(make_world: MakeWorld, onnx_bytes: bytes, weight: float) -> None:
    world = make_world(draw_rec_ids(np.random.default_rng(6), VOCABULARIES, 40))
    request = Request([1, 2, 3], [4])
    expected = world.torch_decode([request], 40, dense_weight=weight)
    assert not same_lists(world.decode([request], 40), expected)
    once = set_dense_weight(onnx_bytes, weight)
    world.decoder = world.decoder_of(once)
    assert same_lists(world.decode([request], 40), expected)
    assert set_dense_weight(set_dense_weight(once, 7.0), weight) == once


def test_a_graph_without_the_weight_is_named() -> None:
    empty = onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], []))
    with pytest.raises(JobError, match="has no constant 'dense_weight'; export it"):
        set_dense_weight(empty.SerializeToString(), 1.0)


@pytest.mark.parametrize("shape", [(2, 6), (4, 6), (3, 5)])
def test_vectors_of_another_shape_are_refused(world: World, shape: tuple[int, int]) -> None:
    world.vectors = np.zeros(shape, np.float32)
    with pytest.raises(DecoderError, match=rf"shape \({shape[0]}, {shape[1]}\).*need \(3, 6\); publish the run again"):
        world.decoder_of(world.onnx)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_vectors_that_are_not_finite_are_refused(make_world: MakeWorld, broken: float) -> None:
    world = make_world(draw_rec_ids(np.random.default_rng(1), VOCABULARIES, 20))
    world.vectors[7, 2] = world.vectors[16, 4] = broken
    with pytest.raises(DecoderError, match=r"NaN or infinity in 2 of 20 rows, the first is row 7; train and publish"):
        world.decoder_of(world.onnx)


def test_two_infinities_of_a_row_do_not_cancel(world: World) -> None:
    world.vectors[1, :2] = np.inf, -np.inf
    with pytest.raises(DecoderError, match="in 1 of 3 rows, the first is row 1"):
        world.decoder_of(world.onnx)


def test_a_graph_for_vectors_of_another_width_is_refused(world: World) -> None:
    wider = replace(world.settings, vector_dim=8)
    vectors = np.zeros((3, 8), np.float32)
    with pytest.raises(DecoderError, match=r"vectors of 6 columns, the release has 8; export and publish"):
        BeamDecoder(world.onnx, trie=world.trie, item_vectors=vectors, settings=wider, device="cpu")


@pytest.mark.parametrize(
    ("codebook_sizes", "message"),
    [
        ((8,), r"it lacks \[\] and has \[.*'listed_2'.*\] beyond those; export and publish the run again"),
        ((8, 16, 4), r"it lacks \[.*'listed_3'.*\] and has \[\] beyond those; export and publish the run again"),
    ],
    ids=["fewer", "more"],
)
def test_a_graph_of_other_levels_is_refused(world: World, codebook_sizes: tuple[int, ...], message: str) -> None:
    other = replace(world.settings, codebook_sizes=codebook_sizes)
    rec_ids = np.array([[0, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0]], np.int32)[:, : len(codebook_sizes) + 1]
    trie = build_trie(rec_ids, other.space)
    with pytest.raises(DecoderError, match=f"exported for other levels .*: {message}"):
        BeamDecoder(world.onnx, trie=trie, item_vectors=world.vectors, settings=other, device="cpu")


def test_bytes_that_are_no_graph_are_refused(world: World) -> None:
    with pytest.raises(DecoderError, match="cannot open the release's decoder"):
        world.decoder_of(b"no onnx")


@pytest.mark.skipif(cuda_device_present(), reason="this machine has a CUDA device")
@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_device_on_a_machine_without_it_is_refused_with_the_cure(world: World, device: str) -> None:
    with pytest.raises(DecoderError, match=rf"device {device} was asked for.*CPUExecutionProvider.*MMGREC_DEVICE=cpu"):
        world.decoder_of(world.onnx, device=device)
    assert world.decoder_of(world.onnx, device="auto").provider == "CPUExecutionProvider"


@pytest.mark.parametrize(
    ("histories", "excluded", "beam_width", "message"),
    [
        ([], [], 3, "0 histories, 0 filters and beam_width=3: give at least one history"),
        ([[0]], [], 3, "1 histories, 0 filters"),
        ([[0]], [[], []], 3, "1 histories, 2 filters"),
        ([[0]], [[]], 0, "beam_width=0.* a beam width of at least 1"),
        ([[0, 3]], [[]], 3, r"item rows span 0\.\.3; the limit is 0\.\.2"),
        ([[-1]], [[]], 3, r"item rows span -1\.\.-1; the limit is 0\.\.2"),
        ([[99] + [0] * 20], [[]], 3, r"item rows span 0\.\.99; the limit is 0\.\.2"),  # older than what counts
        ([[0]], [[1, 3]], 3, r"item rows span 1\.\.3; the limit is 0\.\.2"),
        ([[0]], [[-1]], 3, r"item rows span -1\.\.-1; the limit is 0\.\.2"),
    ],
)
def test_requests_that_cannot_be_decoded(
    world: World, histories: list[Any], excluded: list[Any], beam_width: int, message: str
) -> None:
    filters = [ItemFilter(excluded=as_rows(rows)) for rows in excluded]
    with pytest.raises(ValueError, match=message):
        world.decoder.decode([as_rows(rows) for rows in histories], filters, beam_width=beam_width)


def test_candidates_outside_the_catalogue_are_named(world: World) -> None:
    with pytest.raises(ValueError, match=r"item rows span 0\.\.3; the limit is 0\.\.2"):
        world.decode([Request([], (), [0, 3])], 3)


def with_broken_weight(decoder: bytes, name: str, broken: float) -> bytes:
    """The same graph with one number of one weight changed."""
    graph = onnx.load_from_string(decoder)
    (weight,) = [each for each in graph.graph.initializer if each.name == f"generator.{name}"]
    values = onnx.numpy_helper.to_array(weight).copy()
    values.flat[0] = broken
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    return bytes(graph.SerializeToString())


@pytest.mark.parametrize(
    "weight", ["heads.0.weight", "heads.2.bias", "encoder_norm.bias", "state_slot.bias", "history_state.recency"]
)
@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_generator_whose_scores_are_not_finite_is_refused(world: World, weight: str, broken: float) -> None:
    """Weights of the token scores, of the encoder, and of the dense term alone."""
    decoder = world.decoder_of(with_broken_weight(world.onnx, weight, broken))
    with pytest.raises(DecoderError, match=r"request 0 of the batch.*scores are not finite.*roll back"):
        world.decode([Request([0, 1]), Request([2])], 3, decoder)


def test_the_request_whose_scores_are_not_finite_is_named(world: World) -> None:
    """A vector that is finite and far too long: whoever has it in the history cannot be scored, the others can."""
    world.vectors[2] = 3e38
    decoder = world.decoder_of(world.onnx)
    assert world.decode([Request([0], [2]), Request([1], [2])], 3, decoder).alive.sum() == 4
    with pytest.raises(DecoderError, match=r"request 1 of the batch got 0 items where 2 are legal.*not finite"):
        world.decode([Request([0], [2]), Request([2], [2])], 3, decoder)


def test_an_item_whose_score_is_not_finite_is_refused_where_it_is_found(world: World) -> None:
    """Its tokens have log-probabilities, its dense term has none."""
    broken = world.decoder_of(set_dense_weight(world.onnx, float("nan")))
    with pytest.raises(DecoderError, match=r"request 0 of the batch.*not finite"):
        world.decode([Request([0])], 3, broken)


def test_the_dense_term_is_bounded_for_every_vector_that_is_finite(world: World) -> None:
    """A cosine, however long the key; one of zeros says nothing for or against its item."""
    expected = world.decode([Request([0])], 3)
    for value, most in ((3e38, DENSE_WEIGHT), (0.0, 0.0)):
        world.vectors[2] = value
        found = world.decode([Request([0])], 3, world.decoder_of(world.onnx))
        assert found.alive.all()
        at = found.leaves[0].tolist().index(world.leaf_of[2])
        assert abs(found.score[0, at] - found.log_prob[0, at]) <= most
        assert sorted(found.log_prob[0]) == pytest.approx(sorted(expected.log_prob[0]), abs=1e-5)
