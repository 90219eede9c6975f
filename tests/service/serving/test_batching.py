"""Requests that wait together share a run; nobody waits for a timer, and nobody fails for a neighbour."""

import asyncio
import time
from random import Random

import pytest

from service.serving.batching import MicroBatcher, OverloadedError
from service.serving.inference import InferenceThread
from service.serving.waiting import DeadlineError
from tests.service.serving.batches import V1, V2, Decoding, ask, busy_with_first

pytestmark = pytest.mark.anyio


async def test_an_idle_service_decodes_at_once_and_alone(batcher: MicroBatcher, decoding: Decoding) -> None:
    decoding.go.set()
    assert [await ask(batcher, number) for number in (7, 8)] == [7, 8]
    assert [batch for _, batch, _ in decoding.runs] == [[7], [8]]


async def test_those_that_waited_share_runs_of_bounded_size_and_get_their_own_answers(
    batcher: MicroBatcher, decoding: Decoding
) -> None:
    first = await busy_with_first(batcher, decoding)
    others = [asyncio.create_task(ask(batcher, number)) for number in range(1, 6)]
    await asyncio.sleep(0)
    decoding.go.set()
    assert await asyncio.gather(first, *others) == [0, 1, 2, 3, 4, 5]
    assert [batch for _, batch, _ in decoding.runs] == [[0], [1, 2, 3], [4, 5]]


async def test_a_run_holds_one_release_and_one_beam_width(batcher: MicroBatcher, decoding: Decoding) -> None:
    first = await busy_with_first(batcher, decoding)
    kinds = [(1, V1, 10), (2, V2, 10), (3, V1, 50), (4, V1, 10), (5, V2, 10)]
    others = [asyncio.create_task(ask(batcher, *kind)) for kind in kinds]
    await asyncio.sleep(0)
    decoding.go.set()
    assert await asyncio.gather(first, *others) == [0, 1, 2, 3, 4, 5]
    assert decoding.runs[1:] == [(V1, [1, 4], 10), (V2, [2, 5], 10), (V1, [3], 50)]


async def test_who_went_away_is_not_decoded(batcher: MicroBatcher, decoding: Decoding) -> None:
    first = await busy_with_first(batcher, decoding)
    gone, stays = (asyncio.create_task(ask(batcher, number)) for number in (1, 2))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    decoding.go.set()
    assert await asyncio.gather(first, stays) == [0, 2]
    assert gone.cancelled()
    assert [batch for _, batch, _ in decoding.runs] == [[0], [2]]


async def test_who_leaves_frees_the_place_at_once(batcher: MicroBatcher, decoding: Decoding) -> None:
    first = await busy_with_first(batcher, decoding)
    waiting = [asyncio.create_task(ask(batcher, number)) for number in range(1, 5)]
    await asyncio.sleep(0)
    assert (batcher.queue_length, batcher.unanswered) == (4, 5)
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert (batcher.queue_length, batcher.unanswered) == (0, 1)
    decoding.go.set()
    assert await first == 0
    assert await ask(batcher, 5) == 5  # the thread came to an empty queue and was fetched again
    assert batcher.unanswered == 0


async def test_a_deadline_that_passes_in_the_queue_is_told_then_and_never_decoded(
    batcher: MicroBatcher, decoding: Decoding
) -> None:
    first = await busy_with_first(batcher, decoding)
    late, patient = asyncio.create_task(ask(batcher, 1, seconds=0.05)), asyncio.create_task(ask(batcher, 2))
    with pytest.raises(DeadlineError):  # while the run is still under way
        await late
    decoding.go.set()
    assert await asyncio.gather(first, patient) == [0, 2]
    assert [batch for _, batch, _ in decoding.runs] == [[0], [2]]


async def test_a_deadline_that_passes_in_the_run_is_told_and_harms_nobody(
    batcher: MicroBatcher, decoding: Decoding
) -> None:
    with pytest.raises(DeadlineError):
        await ask(batcher, 1, seconds=0.05)
    assert decoding.runs == [(V1, [1], 10)]
    decoding.go.set()
    assert await ask(batcher, 2) == 2


async def test_a_deadline_that_has_passed_is_no_work(batcher: MicroBatcher, decoding: Decoding) -> None:
    with pytest.raises(DeadlineError):
        await ask(batcher, 1, seconds=-0.1)
    assert decoding.runs == []


async def test_what_a_request_took_is_told(batcher: MicroBatcher, decoding: Decoding) -> None:
    first = await busy_with_first(batcher, decoding)
    other = asyncio.create_task(batcher.decode(V1, 1, 10, deadline=time.monotonic() + 100))
    await asyncio.sleep(0.05)
    decoding.go.set()
    answered = await other
    await first
    assert answered.queue_seconds >= 0.04
    assert answered.inference_seconds > 0
    assert answered.batch_size == 1


async def test_a_request_that_breaks_the_decoder_fails_alone(batcher: MicroBatcher, decoding: Decoding) -> None:
    first = await busy_with_first(batcher, decoding)
    others = [asyncio.create_task(ask(batcher, number)) for number in (1, -1, 3)]
    await asyncio.sleep(0)
    decoding.go.set()
    answers = await asyncio.gather(first, *others, return_exceptions=True)
    assert [answers[0], answers[1], answers[3]] == [0, 1, 3]
    assert isinstance(answers[2], ValueError)
    assert await ask(batcher, 9) == 9  # and the queue goes on


async def test_closing_ends_the_wait(decoding: Decoding) -> None:
    inference = InferenceThread()
    batcher = MicroBatcher(inference, decoding, max_batch=3)
    first = await busy_with_first(batcher, decoding)
    blocked = asyncio.create_task(inference.run(lambda: None))  # stands behind the run that is under way
    await asyncio.sleep(0)
    decoding.go.set()
    assert await first == 0
    await blocked
    inference.close()
    with pytest.raises(RuntimeError):
        await ask(batcher, 1)


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_comes_and_goes_everybody_gets_their_own_answer(
    batcher: MicroBatcher, decoding: Decoding, seed: int
) -> None:
    """Two releases, two tiers, callers who leave, deadlines that pass, requests that break the decoder."""
    decoding.go.set()
    random = Random(seed)
    asked: list[tuple[int, asyncio.Task[int]]] = []
    for number in range(200):
        breaks, seconds = random.random() < 0.02, random.choice([100.0, 100.0, 0.001])
        kind = (random.choice([V1, V2]), random.choice([10, 50]), seconds)
        asked.append((number, asyncio.create_task(ask(batcher, -1 if breaks else number, *kind))))
        if random.random() < 0.1:
            random.choice(asked)[1].cancel()
        if random.random() < 0.3:
            await asyncio.sleep(0)
    answers = await asyncio.gather(*(task for _, task in asked), return_exceptions=True)
    for (number, _), found in zip(asked, answers, strict=True):
        assert found == number or isinstance(
            found, (asyncio.CancelledError, DeadlineError, OverloadedError, ValueError)
        )
    decoded = [number for _, batch, _ in decoding.runs for number in batch if number != -1]
    assert all(len(batch) <= 3 for _, batch, _ in decoding.runs)
    assert {number for number in answers if isinstance(number, int)} <= set(decoded)
    assert batcher.queue_length == 0
    assert await ask(batcher, 999) == 999


async def test_who_has_gone_is_not_decoded_alone_when_a_batch_fails(batcher: MicroBatcher, decoding: Decoding) -> None:
    first = await busy_with_first(batcher, decoding)
    bad, gone, stays = (asyncio.create_task(ask(batcher, number)) for number in (-1, 7, 8))
    while batcher.queue_length < 3:
        await asyncio.sleep(0.001)
    decoding.started.clear()
    decoding.go.set()
    decoding.go.clear()
    await asyncio.to_thread(decoding.started.wait, 10)  # the batch of three is under way
    gone.cancel()
    await asyncio.sleep(0)
    decoding.go.set()
    assert await first == 0
    with pytest.raises(ValueError, match="not finite"):
        await bad
    assert await stays == 8
    assert [7] not in [batch for _, batch, _ in decoding.runs]


async def test_a_wrong_number_of_answers_is_an_error_of_the_requests(inference: InferenceThread) -> None:
    batcher = MicroBatcher(inference, lambda *_: [], max_batch=3)
    with pytest.raises(ValueError, match="zip"):
        await ask(batcher, 1)
