"""Requests that wait together share a run; nobody waits for a timer, and nobody fails for a neighbour."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import numpy as np
import pytest

from service.batching import MicroBatcher
from service.decoder import Decoded
from service.inference import InferenceThread
from service.release import Release

V1, V2 = cast(Release, "v1"), cast(Release, "v2")
pytestmark = pytest.mark.anyio


class Decoding:
    """Notes every run; the runs wait until `go` is set; -1 is a request that makes the decoder fail."""

    def __init__(self) -> None:
        self.runs: list[tuple[Any, list[int], int]] = []
        self.started, self.go = threading.Event(), threading.Event()

    def __call__(self, release: Release, batch: Sequence[int], beam_width: int) -> list[Decoded]:
        self.runs.append((release, list(batch), beam_width))
        self.started.set()
        assert self.go.wait(10)
        if -1 in batch:
            raise ValueError("not finite")
        return [Decoded(*(np.array([number]) for _ in range(3))) for number in batch]


@pytest.fixture
def decoding() -> Decoding:
    return Decoding()


@pytest.fixture
async def batcher(decoding: Decoding) -> AsyncIterator[MicroBatcher]:
    inference = InferenceThread()
    yield MicroBatcher(inference, decoding, max_batch=3)
    decoding.go.set()
    inference.close()


async def ask(batcher: MicroBatcher, number: int, release: Release = V1, beam_width: int = 10) -> int:
    return int((await batcher.decode(release, number, beam_width)).leaves[0])


async def busy_with_first(batcher: MicroBatcher, decoding: Decoding) -> "asyncio.Task[int]":
    """A first request that the thread is at work on."""
    first = asyncio.create_task(ask(batcher, 0))
    await asyncio.to_thread(decoding.started.wait, 10)
    return first


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
