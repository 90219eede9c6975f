"""Requests that are held back: which, for how long, and that none is lost."""

import asyncio
from functools import partial

import pytest

from service.serving.late_start import LEAD_SECONDS, MOST_SECONDS, STARTED_IN_A_ROW, LateStart

pytestmark = pytest.mark.anyio


class Run:
    """A run that takes as long as it is told to."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.begun: list[int] = []
        self.late_start = LateStart(lambda: self.seconds)

    def begin(self, *numbers: int) -> None:
        for number in numbers:
            self.late_start.begin(partial(self.begun.append, number))


async def test_who_need_not_wait_is_begun_at_once() -> None:
    run = Run()
    run.begin(1)
    run.seconds = LEAD_SECONDS
    run.begin(2)
    assert (run.begun, run.late_start.held) == ([1, 2], 0)


async def test_who_would_wait_is_begun_with_the_others_in_order() -> None:
    run = Run()
    run.seconds = LEAD_SECONDS + 0.01
    run.begin(1, 2)
    run.seconds = 0.0  # the run has ended early; who comes now still comes after them
    run.begin(3)
    assert (run.begun, run.late_start.held) == ([], 3)
    await asyncio.sleep(0.03)
    assert (run.begun, run.late_start.held) == ([1, 2, 3], 0)
    run.begin(4)
    assert run.begun == [1, 2, 3, 4]


async def test_nobody_is_held_back_for_long() -> None:
    run = Run()
    run.seconds = 100.0
    run.begin(1)
    await asyncio.sleep(2 * MOST_SECONDS)
    assert run.begun == [1]


async def test_others_have_their_turn_between_them() -> None:
    run = Run()
    run.seconds = LEAD_SECONDS + 0.001
    run.begin(*range(2 * STARTED_IN_A_ROW + 1))
    seen = set()
    while len(run.begun) <= 2 * STARTED_IN_A_ROW:
        await asyncio.sleep(0)
        seen.add(len(run.begun))
    assert seen == {0, STARTED_IN_A_ROW, 2 * STARTED_IN_A_ROW, 2 * STARTED_IN_A_ROW + 1}


async def test_one_that_fails_does_not_keep_the_others() -> None:
    run = Run()
    run.seconds = LEAD_SECONDS + 0.001

    def fail() -> None:
        raise RuntimeError("as if the event loop were closed")

    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
    run.late_start.begin(fail)
    run.begin(1)
    await asyncio.sleep(0.02)
    assert (run.begun, len(reported)) == ([1], 1)
