"""Ending a task for certain."""

import asyncio
from typing import Any

AGAIN_SECONDS = 0.1


async def end_task(task: asyncio.Task[Any]) -> None:
    """Cancel a task until it has ended, whatever it ends with.

    Once is not enough: where a cancellation meets a time limit that passes in the same moment, redis-py and
    `asyncio.wait_for` (before Python 3.12) turn it into the TimeoutError of the limit, and the task goes on.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=AGAIN_SECONDS)
