"""Stop working for callers who have gone away: servers tell the application so, but cancel nothing by themselves."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.types import Receive

Result = TypeVar("Result")

PATIENCE_SECONDS = 0.02
"""Work that ends sooner is not worth the task that listens."""


class ClientGoneError(RuntimeError):
    """The caller closed the connection before the answer was ready; the work for it was stopped."""

    def __init__(self) -> None:
        super().__init__("the caller has closed the connection")


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """Do some work for a request whose body has been read; cancel it when the caller disconnects.

    Raises:
        ClientGoneError: the caller has disconnected.
    """
    task = asyncio.current_task()
    assert task is not None
    listening: list[asyncio.Task[None]] = []
    gone = False

    async def listen() -> None:
        nonlocal gone
        with suppress(HTTPException):  # a body that nobody asked for is too large, and nobody reads it
            while (await receive())["type"] != "http.disconnect":
                pass
            gone = True
            task.cancel()

    timer = asyncio.get_running_loop().call_later(
        PATIENCE_SECONDS, lambda: listening.append(asyncio.create_task(listen(), name="disconnect"))
    )
    try:
        return await work
    except asyncio.CancelledError:
        if gone and task.uncancel() == 0:
            raise ClientGoneError from None
        raise
    finally:
        timer.cancel()
        for listener in listening:
            listener.cancel()
