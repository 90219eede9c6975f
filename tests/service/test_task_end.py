"""A task that swallows cancellations is ended all the same."""

import asyncio

import pytest

from service.task_end import end_task


@pytest.mark.parametrize("swallowed", [0, 1, 3])
def test_a_task_ends_however_often_it_swallows_its_cancellation(swallowed: int) -> None:
    async def stubborn() -> None:
        for _ in range(swallowed):
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:  # as a time limit does that passes in this moment
                continue
        await asyncio.sleep(3600)

    async def run() -> bool:
        task = asyncio.create_task(stubborn())
        await asyncio.sleep(0)
        await end_task(task)
        return task.cancelled()

    assert asyncio.run(run())


def test_what_a_task_ended_with_is_nobodys_concern() -> None:
    async def failing() -> None:
        raise RuntimeError("its own affair")

    async def run() -> None:
        task = asyncio.create_task(failing())
        await asyncio.sleep(0)
        await end_task(task)
        assert isinstance(task.exception(), RuntimeError)

    asyncio.run(run())
