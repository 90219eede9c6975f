"""A request in the queue of `service.serving.batching`, and how what comes of it gets back to the event loop."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from service.decoder import Decoded

HANDED_OUT = 16
"""Answers that the event loop finishes in a row, in about 6 ms: who is refused meanwhile is to hear of it within 10."""


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


class Waiting(NamedTuple):
    """A request in the queue; times of `time.monotonic()`."""

    prepared: Any
    since: float
    deadline: float
    answer: asyncio.Future[Answered]


def on_loop(batch: list[Waiting], function: Callable[..., None], *arguments: Any) -> None:
    """Call a function on the event loop that waits; one wake-up for a whole batch."""
    with suppress(RuntimeError):  # the loop is closed, so nobody waits
        batch[0].answer.get_loop().call_soon_threadsafe(function, *arguments)


def hand_out(batch: list[Waiting], answers: list[Answered]) -> None:
    """Some now, the others after the event loop has looked at its sockets: those who are refused wait for nobody."""
    for waiting, answered in zip(batch[:HANDED_OUT], answers, strict=False):
        if not waiting.answer.done():
            waiting.answer.set_result(answered)
    if len(batch) > HANDED_OUT:
        loop = batch[0].answer.get_loop()
        loop.call_soon(hand_out, batch[HANDED_OUT:], answers[HANDED_OUT:])


def fail(answer: asyncio.Future[Answered], error: Exception) -> None:
    """An error for who still waits."""
    if not answer.done():
        answer.set_exception(error)


def expire(answer: asyncio.Future[Answered]) -> None:
    """The deadline of a request has come."""
    fail(answer, DeadlineError())
