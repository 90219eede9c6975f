"""Sessions of a fixed shape answer like the one that takes any shape, and nothing larger reaches them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.buckets import Bucket, default_buckets
from service.decoder import BeamDecoder, Decoded
from tests.decoder.worlds import (
    MAX_HISTORY,
    SETTINGS,
    VOCABULARIES,
    RecIds,
    Request,
    World,
    answer,
    catalogues,
    check_invariants,
    draw_rec_ids,
    draw_request,
    few_examples,
    same_lists,
)

MakeWorld = Callable[..., World]
SMALL, WIDE = Bucket(batch=1, history=3, beam_width=10, listed=4), Bucket(batch=4, history=6, beam_width=10, listed=16)


@pytest.fixture(scope="module")
def world(make_world: MakeWorld) -> World:
    return make_world(draw_rec_ids(np.random.default_rng(0), VOCABULARIES, 300))


@pytest.fixture(scope="module")
def bucketed(world: World) -> BeamDecoder:
    """The larger one first: the order in which they are given says nothing."""
    decoder = world.decoder_of(world.onnx, buckets=[WIDE, SMALL])
    decoder.prepare()
    return decoder


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The real sessions that ran from here on."""
    ran: list[Any] = []
    original = ort.InferenceSession.run_with_iobinding

    def run(session: ort.InferenceSession, *arguments: object) -> None:
        ran.append(session)
        original(session, *arguments)

    monkeypatch.setattr(ort.InferenceSession, "run_with_iobinding", run)
    return ran


def shape_of(session: ort.InferenceSession) -> list[Any]:
    """[batch, history] that a session takes: numbers where they are fixed, names where it takes any."""
    return next(node.shape for node in session.get_inputs() if node.name == "history")


@few_examples
@given(catalogue=catalogues(), batch=st.integers(1, 6))
def test_a_bucket_answers_like_the_dynamic_session(
    make_world: MakeWorld, catalogue: tuple[RecIds, int], batch: int
) -> None:
    world, random = make_world(*catalogue), np.random.default_rng(catalogue[1])
    decoder = world.decoder_of(world.onnx, buckets=[WIDE])
    decoder.prepare()
    requests = [draw_request(random, world) for _ in range(batch)]
    found = world.decode(requests, 10, decoder)
    assert same_lists(found, world.decode(requests, 10))
    for row, request in enumerate(requests):
        check_invariants(world, request, answer(found, row), 10)


@pytest.mark.parametrize(
    ("requests", "beam_width", "expected"),
    [
        ([Request([1, 2, 3])], 10, [1, 3]),
        ([Request([])], 10, [1, 3]),
        ([Request([1, 2, 3], range(4))], 10, [1, 3]),
        ([Request([1, 2, 3, 4])], 10, [4, 6]),
        ([Request([1, 2, 3], range(5))], 10, [4, 6]),
        ([Request([1]), Request([2])], 10, [4, 6]),
        ([Request(list(range(30)))] * 4, 10, [4, 6]),
        ([Request([1], (), range(16))] * 4, 10, [4, 6]),
        ([Request([1], (), None, frozenset(range(200)))] * 4, 10, [4, 6]),
        ([Request([1])] * 5, 10, None),
        ([Request([1])], 11, None),
        ([Request([1])], 9, None),
        ([Request([1], (), range(17))], 10, None),
        ([Request([1], range(0, 300, 2))], 10, None),
    ],
)
def test_the_smallest_bucket_that_holds_a_batch_runs_it(
    world: World,
    bucketed: BeamDecoder,
    sessions: list[Any],
    requests: list[Request],
    beam_width: int,
    expected: list[int] | None,
) -> None:
    found = world.decode(requests, beam_width, bucketed)
    assert len(sessions) == 1
    if expected is None:
        assert all(isinstance(size, str) for size in shape_of(sessions[0])), "not the dynamic session"
    else:
        assert shape_of(sessions[0]) == expected
    assert found.leaves.shape == (len(requests), beam_width)
    assert same_lists(found, world.decode(requests, beam_width))


def test_a_new_filter_reaches_every_bucket(world: World, bucketed: BeamDecoder) -> None:
    for start in range(3):
        request = Request([start], (), None, frozenset(range(start, 300, 60)))
        for batch in (1, 3, 5):
            decoded = world.decode([request] * batch, 10, bucketed)
            found = [{world.leaf_to_row[leaf] for leaf in row if leaf >= 0} for row in decoded.leaves]
            assert found == [request.allowed] * batch


def test_what_a_batch_leaves_in_the_buffers_does_not_show(world: World, bucketed: BeamDecoder) -> None:
    """Histories, exclusions and candidates of four requests, then one request without any."""
    plain = Request([7])
    expected = world.decode([plain, plain], 10)
    busy = [Request(list(range(6)), range(12)), Request([1], (), [3]), Request([1], (), []), Request([2], range(9))]
    world.decode(busy, 10, bucketed)
    assert same_lists(world.decode([plain, plain], 10, bucketed), expected)


def test_an_answer_of_a_bucket_is_not_overwritten_by_the_next(world: World, bucketed: BeamDecoder) -> None:
    first = world.decode([Request([1])], 10, bucketed)
    kept = Decoded(*(part.copy() for part in first))
    world.decode([Request([2])], 10, bucketed)
    assert all(np.array_equal(*parts) for parts in zip(first, kept, strict=True))


def test_nothing_is_prepared_on_the_cpu_unless_asked(make_world: MakeWorld, sessions: list[Any]) -> None:
    world = make_world(np.array([[0, 0, 0], [1, 0, 0]], np.int32))
    assert sessions == []
    decoder = world.decoder_of(world.onnx, buckets=[SMALL, WIDE])
    assert sessions == []
    decoder.prepare()
    assert sorted({tuple(shape_of(session)) for session in sessions}) == [(1, 3), (4, 6)]  # warm before serving


def test_default_buckets_hold_every_history_of_the_default_tier() -> None:
    buckets = default_buckets(SETTINGS)
    assert [bucket.batch for bucket in buckets] == [1, 4, 16, 64, 256]
    assert {(bucket.history, bucket.beam_width) for bucket in buckets} == {(MAX_HISTORY, SETTINGS.beam_widths[0])}
