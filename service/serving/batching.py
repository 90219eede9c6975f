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
from service.serving.run_times import WorkBeside
from service.serving.waiting import Answered, DeadlineError, Waiting, expire, fail, hand_out, on_loop

DecodeBatch = Callable[[Release, Sequence[Any], int], Sequence[Decoded]]

RUNS_PER_DEADLINE = 2
"""A run takes at most the deadline by this: who has just missed one waits for it and then for its own."""

MOST_WAIT_SHARE = 0.85
"""Of what is left of a request's deadline, when it comes to the queue. `wait_share`, below it, decides before anything
is done for a request; to refuse it here, after its history was read, is a waste that only a short deadline is worth."""


class OverloadedError(RuntimeError):
    """A request would wait too long; nothing was done for it."""

    def __init__(self, seconds: float, limit_seconds: float) -> None:
        super().__init__(
            f"the service is busy: this request would take {seconds:.3f} s, the limit for its deadline is "
            f"{limit_seconds:.3f} s; come back after Retry-After seconds"
        )
        self.retry_after_seconds = seconds


class _Kind(NamedTuple):
    """What the requests of a batch have in common."""

    release: Release
    beam_width: int


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
        wait_share: how much of a usual time limit may be spent on waiting and its run, as predicted when a request
            comes (`limit_seconds`). The rest is for what the prediction does not know.

    Attributes:
        max_batch: as given.
        beside: told of what the thread does for requests outside of runs; it is part of the prediction.
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
        self.beside = WorkBeside()
        self._inference = inference
        self._times = inference.run_times
        self._decode = decode
        self.max_batch = max_batch
        self._run_seconds = deadline_seconds / RUNS_PER_DEADLINE
        self._deadline_seconds = deadline_seconds
        self._wait_share = wait_share
        self._lock = threading.Lock()  # the event loop puts requests in and takes them back, the thread takes batches
        self._queues: dict[_Kind, OrderedDict[int, Waiting]] = {}  # none of them empty
        self._queued = 0  # requests in all of them
        self._running: _Running | None = None
        self._limits: dict[int, int] = {}
        self._last_beam_width = 0
        self._at_work = False  # the thread is in, or will soon come to, `_work`

    @property
    def limit_seconds(self) -> float:
        """How long a usual request may take, as predicted when it comes."""
        return self._deadline_seconds * self._wait_share

    @property
    def queue_length(self) -> int:
        """How many requests wait for a run."""
        return self._queued

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

    @property
    def seconds_left(self) -> float:
        """How long the run under way will still take, by what such runs have taken; 0 for none, or when it is late."""
        running = self._running
        if running is None:
            return 0.0
        expected = self._times.seconds(running.beam_width, running.batch_size)
        return max(0.0, expected - (time.monotonic() - running.started))

    def answer_seconds(self, beam_width: int = 0, others: int = 0) -> float:
        """How long a request that came now would take to be decoded; 0 when it would not have to wait.

        Args:
            beam_width: its own; 0 for the one that was decoded last.
            others: requests of that kind that will be queued before it and are not yet.
        """
        others = max(0, others)
        if self._running is None and not self._queued and others == 0:
            return 0.0
        with self._lock:  # a batch is in one of the two, whenever this is asked
            running = self._running
            waiting = [(kind.beam_width, len(queue)) for kind, queue in self._queues.items()]
        before = others + self._queued
        beam_width = beam_width or self._last_beam_width
        wait, alike = self._seconds_of(beam_width, others), others
        for width, requests in waiting:
            wait += self._seconds_of(width, requests)
            alike += requests if width == beam_width else 0
        if running is not None:
            before += running.batch_size
            expected = self._times.seconds(running.beam_width, running.batch_size)
            # A run that is late is expected to be late by as much again, so that nobody queues behind one that hangs.
            wait += abs(expected - (time.monotonic() - running.started))
        if wait == 0 == self.beside.seconds:
            return 0.0
        wait += self.beside.seconds * (before + 1)
        # Those that come later will fill its run as those before it have filled theirs.
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
        kind, waiting = _Kind(release, beam_width), Waiting(prepared, now, deadline, loop.create_future())
        timer = loop.call_later(deadline - now, expire, waiting.answer)
        try:
            self._enqueue(kind, waiting)
            return await waiting.answer
        finally:
            timer.cancel()
            self._leave(kind, waiting)

    def _admit(self, beam_width: int, seconds_left: float) -> None:
        """Refuse a request that would probably not keep its time limit; an idle thread takes every one."""
        seconds, limit = self.answer_seconds(beam_width), seconds_left * MOST_WAIT_SHARE
        if seconds > limit:
            raise OverloadedError(seconds, limit)

    def _limit(self, beam_width: int) -> int:
        limits = self._limits  # replaced by the thread when it has measured a run
        if beam_width not in limits:
            limits[beam_width] = self._times.largest_batch(beam_width, self.max_batch, self._run_seconds)
        return limits[beam_width]

    def _seconds_of(self, beam_width: int, requests: int) -> float:
        """What it takes to decode requests of one kind."""
        if requests == 0:
            return 0.0
        limit = self._limit(beam_width)
        runs, rest = divmod(requests, limit)
        seconds = runs * self._times.seconds(beam_width, limit)
        return seconds + (self._times.seconds(beam_width, rest) if rest else 0.0)

    def _enqueue(self, kind: _Kind, waiting: Waiting) -> None:
        with self._lock:
            self._queues.setdefault(kind, OrderedDict())[id(waiting)] = waiting
            self._queued += 1
            idle, self._at_work = not self._at_work, True
        if idle:
            self._start()

    def _leave(self, kind: _Kind, waiting: Waiting) -> None:
        with self._lock:
            queue = self._queues.get(kind)
            if queue is None or queue.pop(id(waiting), None) is None:
                return  # it was taken
            self._queued -= 1
            if not queue:
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

    def _next_batch(self) -> tuple[_Kind | None, list[Waiting]]:
        """The oldest request, and those behind it that can share its run; who is late leaves the queue here."""
        if not self._queues:  # all have left
            return None, []
        now = time.monotonic()
        kind = min(self._queues, key=lambda each: next(iter(self._queues[each].values())).since)
        queue, batch, limit = self._queues[kind], list[Waiting](), self._limit(kind.beam_width)
        while queue and len(batch) < limit:
            _, waiting = queue.popitem(last=False)
            self._queued -= 1
            if now < waiting.deadline and not waiting.answer.done():
                batch.append(waiting)
        if not queue:
            del self._queues[kind]
        if batch:
            self._running, self._last_beam_width = _Running(kind.beam_width, len(batch), now), kind.beam_width
        return kind, batch

    def _run(self, kind: _Kind, batch: list[Waiting]) -> None:
        started = time.monotonic()
        self._running = _Running(kind.beam_width, len(batch), started)
        try:
            found = list(self._decode(kind.release, [each.prepared for each in batch], kind.beam_width))
            pairs = list(zip(batch, found, strict=True))
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the request that caused it
            self._running = None
            if len(batch) > 1:
                for each in batch:
                    if time.monotonic() < each.deadline and not each.answer.done():
                        self._run(kind, [each])
            else:
                on_loop(batch, fail, batch[0].answer, error)
            return
        seconds, self._running = time.monotonic() - started, None
        self._times.record(kind.beam_width, len(batch), seconds)
        self._limits = {}
        answers = [Answered(decoded, started - each.since, seconds, len(batch)) for each, decoded in pairs]
        on_loop(batch, hand_out, batch, answers)
