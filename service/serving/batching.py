"""Micro-batching: requests that wait while the decoder is busy share its next run.

There is no timer: an idle service decodes a request at once and alone; the busier it is, the more requests have
gathered when the thread comes free. A batch holds one release and one beam width. The inference thread takes the next
batch by itself as soon as a run has ended, so a busy event loop never keeps the device waiting.

A request is refused when it comes if it would wait too long; it leaves the queue when its caller goes away or its
deadline passes, and is not decoded then. Every step costs O(1) or O(batch), however many are waiting.
"""

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from service.decoder import Decoded
from service.releases.release import Release
from service.serving.inference import InferenceThread

DecodeBatch = Callable[[Release, Sequence[Any], int], Sequence[Decoded]]

RUNS_PER_DEADLINE = 2
"""A run takes at most the deadline by this: who has just missed one waits for it and then for its own."""


class OverloadedError(RuntimeError):
    """A request would wait too long; nothing was done for it."""

    def __init__(self, seconds: float, limit_seconds: float) -> None:
        super().__init__(
            f"the service is busy: this request would take {seconds:.3f} s, the limit for its deadline is "
            f"{limit_seconds:.3f} s; come back after Retry-After seconds"
        )
        self.retry_after_seconds = seconds


class DeadlineError(RuntimeError):
    """The time limit of a request has passed before it could be answered."""

    def __init__(self) -> None:
        super().__init__("the deadline has passed before an answer was found; ask again, or allow more deadline_ms")


class Answered(NamedTuple):
    """What came of a request, and at what price: times in seconds, and how many requests shared the run."""

    decoded: Decoded
    queue_seconds: float
    inference_seconds: float
    batch_size: int


class _Kind(NamedTuple):
    """What the requests of a batch have in common."""

    release: Release
    beam_width: int


class _Waiting(NamedTuple):
    """A request in the queue; times of `time.monotonic()`."""

    prepared: Any
    since: float
    deadline: float
    answer: asyncio.Future[Answered]


class _Running(NamedTuple):
    """The run under way."""

    beam_width: int
    batch_size: int
    started: float


class MicroBatcher:
    """The queue in front of the inference thread; its callers live on one event loop.

    Args:
        inference: the thread that decodes.
        decode: decodes requests of one release and beam width: (release, prepared requests, beam width) to answers.
        max_batch: most requests in one run.
        deadline_seconds: time limit of a usual request; runs are kept so short that it can be met.
        wait_share: how much of a request's time limit may be spent on waiting and its run, as predicted when it comes.
            The rest is for what the prediction does not know.
    """

    def __init__(
        self,
        inference: InferenceThread,
        decode: DecodeBatch,
        *,
        max_batch: int,
        deadline_seconds: float = 1.0,
        wait_share: float = 0.6,
    ) -> None:
        self._inference = inference
        self._times = inference.run_times
        self._decode = decode
        self._max_batch = max_batch
        self._run_seconds = deadline_seconds / RUNS_PER_DEADLINE
        self._deadline_seconds = deadline_seconds
        self._wait_share = wait_share
        self._lock = threading.Lock()  # the event loop puts requests in and takes them back, the thread takes batches
        self._queues: dict[_Kind, OrderedDict[int, _Waiting]] = {}  # none of them empty
        self._running: _Running | None = None
        self._last_beam_width = 0
        self._at_work = False  # the thread is in, or will soon come to, `_work`

    @property
    def limit_seconds(self) -> float:
        """How long a usual request may take, as predicted when it comes."""
        return self._deadline_seconds * self._wait_share

    @property
    def queue_length(self) -> int:
        """How many requests wait for a run."""
        with self._lock:
            return sum(len(queue) for queue in self._queues.values())

    @property
    def unanswered(self) -> int:
        """How many requests wait or are being decoded."""
        running = self._running
        return self.queue_length + (0 if running is None else running.batch_size)

    @property
    def run_age_seconds(self) -> float:
        """How long the run under way has been under way; 0 for none."""
        running = self._running
        return 0.0 if running is None else time.monotonic() - running.started

    def answer_seconds(self, beam_width: int = 0, others: int = 0) -> float:
        """How long a request that came now would take to be decoded; 0 when it would not have to wait.

        Args:
            beam_width: its own; 0 for the one that was decoded last.
            others: requests of that kind that will be queued before it and are not yet.
        """
        with self._lock:
            waiting = [(kind.beam_width, len(queue)) for kind, queue in self._queues.items()]
            running = self._running
        beam_width = beam_width or self._last_beam_width
        waiting.append((beam_width, max(0, others)))
        wait = sum(self._seconds_of(*each) for each in waiting)
        if running is not None:
            expected = self._times.seconds(running.beam_width, running.batch_size)
            # A run that is late is expected to be late by as much again, so that nobody queues behind one that hangs.
            wait += abs(expected - (time.monotonic() - running.started))
        if wait == 0:
            return 0.0
        # Those that come later will fill its run as those before it have filled theirs.
        alike = sum(requests for width, requests in waiting if width == beam_width)
        return wait + self._times.seconds(beam_width, min(alike + 1, self._limit(beam_width)))

    async def decode(self, release: Release, prepared: Any, beam_width: int, *, deadline: float) -> Answered:
        """Queue one request and wait for its answer.

        A caller that is cancelled leaves the queue. A request that makes the decoder fail fails alone, not with those
        that shared its batch.

        Args:
            release: what to decode with.
            prepared: passed on to the `decode` of the constructor.
            beam_width: passed on as well.
            deadline: in `time.monotonic()`.

        Raises:
            OverloadedError: it would wait too long.
            DeadlineError: its deadline has passed.
        """
        now = time.monotonic()
        if deadline <= now:
            raise DeadlineError
        self._admit(beam_width, deadline - now)
        loop = asyncio.get_running_loop()
        kind, waiting = _Kind(release, beam_width), _Waiting(prepared, now, deadline, loop.create_future())
        timer = loop.call_later(deadline - now, _expire, waiting.answer)
        try:
            self._enqueue(kind, waiting)
            return await waiting.answer
        finally:
            timer.cancel()
            self._leave(kind, waiting)

    def _admit(self, beam_width: int, seconds_left: float) -> None:
        """Refuse a request that would probably not keep its time limit; an idle thread takes every one."""
        seconds, limit = self.answer_seconds(beam_width), seconds_left * self._wait_share
        if seconds > limit:
            raise OverloadedError(seconds, limit)

    def _limit(self, beam_width: int) -> int:
        return self._times.largest_batch(beam_width, self._max_batch, self._run_seconds)

    def _seconds_of(self, beam_width: int, requests: int) -> float:
        """What it takes to decode requests of one kind."""
        limit = self._limit(beam_width)
        runs, rest = divmod(requests, limit)
        seconds = runs * self._times.seconds(beam_width, limit)
        return seconds + (self._times.seconds(beam_width, rest) if rest else 0.0)

    def _enqueue(self, kind: _Kind, waiting: _Waiting) -> None:
        with self._lock:
            self._queues.setdefault(kind, OrderedDict())[id(waiting)] = waiting
            idle, self._at_work = not self._at_work, True
        if idle:
            self._start()

    def _leave(self, kind: _Kind, waiting: _Waiting) -> None:
        with self._lock:
            queue = self._queues.get(kind)
            if queue is not None and queue.pop(id(waiting), None) is not None and not queue:
                del self._queues[kind]

    def _start(self) -> None:
        try:
            self._inference.start(self._work)
        except RuntimeError:  # the thread is closed: the service ends
            self._at_work = False
            raise

    def _work(self) -> None:
        """One batch, on the inference thread; then it lets others have the thread before the next one."""
        try:
            with self._lock:
                kind, batch = self._next_batch()
            if kind is not None and batch:
                self._run(kind, batch)
        finally:
            with self._lock:
                self._at_work = more = bool(self._queues)
            if more:
                with suppress(RuntimeError):  # the service ends; deadlines end the wait of who is left
                    self._start()

    def _next_batch(self) -> tuple[_Kind | None, list[_Waiting]]:
        """The oldest request, and those behind it that can share its run; who is late leaves the queue here."""
        if not self._queues:  # all have left
            return None, []
        now = time.monotonic()
        kind = min(self._queues, key=lambda each: next(iter(self._queues[each].values())).since)
        queue, batch, limit = self._queues[kind], list[_Waiting](), self._limit(kind.beam_width)
        while queue and len(batch) < limit:
            _, waiting = queue.popitem(last=False)
            if now < waiting.deadline and not waiting.answer.done():
                batch.append(waiting)
        if not queue:
            del self._queues[kind]
        if batch:
            self._running, self._last_beam_width = _Running(kind.beam_width, len(batch), now), kind.beam_width
        return kind, batch

    def _run(self, kind: _Kind, batch: list[_Waiting]) -> None:
        started = time.monotonic()
        self._running = _Running(kind.beam_width, len(batch), started)
        try:
            found = self._decode(kind.release, [each.prepared for each in batch], kind.beam_width)
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the request that caused it
            self._running = None
            if len(batch) > 1:
                for each in batch:
                    self._run(kind, [each])
            else:
                _on_loop(batch, _fail, batch[0].answer, error)
            return
        seconds, self._running = time.monotonic() - started, None
        self._times.record(kind.beam_width, len(batch), seconds)
        answers = [
            Answered(decoded, started - each.since, seconds, len(batch))
            for each, decoded in zip(batch, found, strict=True)
        ]
        _on_loop(batch, _hand_out, batch, answers)


def _on_loop(batch: list[_Waiting], function: Callable[..., None], *arguments: Any) -> None:
    """Call a function on the event loop that waits; one wake-up for a whole batch."""
    with suppress(RuntimeError):  # the loop is closed, so nobody waits
        batch[0].answer.get_loop().call_soon_threadsafe(function, *arguments)


def _hand_out(batch: list[_Waiting], answers: list[Answered]) -> None:
    for waiting, answered in zip(batch, answers, strict=True):
        if not waiting.answer.done():
            waiting.answer.set_result(answered)


def _fail(answer: asyncio.Future[Answered], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)


def _expire(answer: asyncio.Future[Answered]) -> None:
    _fail(answer, DeadlineError())
