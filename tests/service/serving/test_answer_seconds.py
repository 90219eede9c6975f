"""How long an answer would take, and who is refused for it."""

import asyncio

import pytest

from service.serving.admission import Admission
from service.serving.batching import MicroBatcher, OverloadedError
from service.serving.inference import InferenceThread
from service.serving.run_times import RunTimes
from tests.service.serving.batches import Decoding, ask, busy_with_first

pytestmark = pytest.mark.anyio


async def test_who_would_wait_too_long_is_refused_at_once(
    batcher: MicroBatcher, decoding: Decoding, times: RunTimes
) -> None:
    times.record(10, 3, 1000.0)  # a run of three, as it was measured
    first = await busy_with_first(batcher, decoding)
    with pytest.raises(OverloadedError) as caught:
        await ask(batcher, 1)
    assert caught.value.retry_after_seconds > 100
    assert "Retry-After" in str(caught.value)
    decoding.go.set()
    assert await first == 0
    assert await ask(batcher, 2) == 2  # an idle thread takes all, or nobody would learn that it is fast again


async def test_the_wait_is_that_of_the_run_under_way_and_of_all_before(
    batcher: MicroBatcher, decoding: Decoding, times: RunTimes
) -> None:
    assert batcher.answer_seconds(10) == 0
    times.record(10, 1, 1.0)
    times.record(10, 3, 3.0)
    first = await busy_with_first(batcher, decoding)
    others = [asyncio.create_task(ask(batcher, number)) for number in range(1, 8)]
    await asyncio.sleep(0)
    expected = 1 + 3 + 3 + 1 + 3  # the run, two of three, one of one, and its own, which others will fill
    assert batcher.answer_seconds() == pytest.approx(expected, abs=0.9)
    assert batcher.answer_seconds(others=3) == pytest.approx(expected + 3, abs=0.9)
    admission = Admission(batcher)
    assert admission.limit_seconds == pytest.approx(6)
    refused_for = admission.refusal()
    assert refused_for == pytest.approx(expected, abs=0.9)
    batcher._deadline_seconds = 100  # one that has more patience
    assert admission.refusal() is None
    batcher._deadline_seconds = 10
    decoding.go.set()
    await asyncio.gather(first, *others)
    assert admission.refusal() is None


async def test_a_run_that_hangs_is_expected_to_hang_on(
    batcher: MicroBatcher, decoding: Decoding, times: RunTimes
) -> None:
    times.record(10, 1, 0.001)
    first = await busy_with_first(batcher, decoding)
    await asyncio.sleep(0.1)
    assert batcher.answer_seconds() >= 0.09
    assert batcher.run_age_seconds >= 0.09
    decoding.go.set()
    await first
    assert batcher.run_age_seconds == 0


async def test_runs_are_so_short_that_a_deadline_can_be_kept(
    inference: InferenceThread, decoding: Decoding, times: RunTimes
) -> None:
    batcher = MicroBatcher(inference, decoding, max_batch=3, deadline_seconds=0.2)
    times.record(10, 2, 0.08)
    times.record(10, 3, 0.2)  # more than half of the deadline
    first = await busy_with_first(batcher, decoding)
    others = [asyncio.create_task(ask(batcher, number)) for number in range(1, 6)]
    await asyncio.sleep(0.09)  # the first run is no faster, so it says nothing of the others
    decoding.go.set()
    await asyncio.gather(first, *others)
    assert [batch for _, batch, _ in decoding.runs][1] == [1, 2]


async def test_work_beside_runs_is_part_of_the_prediction(batcher: MicroBatcher, decoding: Decoding) -> None:
    batcher.beside.add(1.0)
    batcher.beside.request_ended()
    each = batcher.beside.seconds
    assert batcher.answer_seconds() == 0  # an idle thread takes everybody
    assert batcher.answer_seconds(others=4) == pytest.approx(5 * each)
    first = await busy_with_first(batcher, decoding)
    assert batcher.answer_seconds(others=1) >= 3 * each
    decoding.go.set()
    await first
