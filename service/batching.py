"""Micro-batching: requests that wait while the decoder is busy share its next run.

There is no timer: an idle service decodes a request at once and alone; the busier it is, the more requests have
gathered when the thread comes free. A batch holds one release and one beam width.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from service.decoder import Decoded
from service.inference import InferenceThread
from service.release import Release

DecodeBatch = Callable[[Release, Sequence[Any], int], Sequence[Decoded]]


class _Waiting(NamedTuple):
    """A request in the queue."""

    release: Release
    beam_width: int
    prepared: Any
    answer: asyncio.Future[Decoded]


class MicroBatcher:
    """The queue in front of the inference thread; lives on one event loop.

    Args:
        inference: the thread that decodes.
        decode: decodes requests of one release and beam width: (release, prepared requests, beam width) to answers.
        max_batch: most requests in one run.
    """

    def __init__(self, inference: InferenceThread, decode: DecodeBatch, *, max_batch: int) -> None:
        self._inference = inference
        self._decode = decode
        self._max_batch = max_batch
        self._queue: list[_Waiting] = []
        self._working: asyncio.Task[None] | None = None

    async def decode(self, release: Release, prepared: Any, beam_width: int) -> Decoded:
        """Queue one request and wait for its answer.

        A caller that is cancelled leaves the queue. A request that makes the decoder fail fails alone, not with those
        that shared its batch.
        """
        answer: asyncio.Future[Decoded] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(release, beam_width, prepared, answer))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work(), name="micro-batcher")
        return await answer

    async def _work(self) -> None:
        while batch := self._next_batch():
            await self._answer(batch)

    def _next_batch(self) -> list[_Waiting]:
        """The oldest request, and those behind it that can share its run; the cancelled leave the queue here."""
        self._queue = [waiting for waiting in self._queue if not waiting.answer.done()]
        if not self._queue:
            return []
        first = self._queue[0]
        alike = [each for each in self._queue if each.release is first.release and each.beam_width == first.beam_width]
        batch = alike[: self._max_batch]
        taken = {id(each) for each in batch}
        self._queue = [each for each in self._queue if id(each) not in taken]
        return batch

    async def _answer(self, batch: list[_Waiting]) -> None:
        try:
            prepared = [each.prepared for each in batch]
            found = await self._inference.run(self._decode, batch[0].release, prepared, batch[0].beam_width)
        except asyncio.CancelledError:  # the service is closing
            for each in batch:
                each.answer.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the request that caused it
            if len(batch) > 1:
                for each in batch:
                    await self._answer([each])
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(error)
            return
        for each, decoded in zip(batch, found, strict=True):
            if not each.answer.done():
                each.answer.set_result(decoded)
