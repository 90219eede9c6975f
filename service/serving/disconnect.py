"""Stop working for callers who have gone away: servers tell the application so, but cancel nothing by themselves."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, TypeVar, cast

from starlette.exceptions import HTTPException
from starlette.types import Receive

Result = TypeVar("Result")

DISCONNECT = "mmgrec.disconnect"
"""Extension of an ASGI scope: a list of what the server calls when the connection is lost."""
PATIENCE_SECONDS = 0.02
"""Work that ends sooner is not worth the task that listens, where the server does not offer to call."""


class ClientGoneError(RuntimeError):
    """The caller closed the connection before the answer was ready; the work for it was stopped."""

    def __init__(self) -> None:
        super().__init__("the caller has closed the connection")


async def unless_gone(scope: Mapping[str, Any], receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """Do some work for a request whose body has been read; cancel it when the caller disconnects.

    Raises:
        ClientGoneError: the caller has disconnected.
    """
    task = asyncio.current_task()
    assert task is not None
    gone = False

    def leave() -> None:
        nonlocal gone
        gone = True
        task.cancel()

    stop_listening = _listen(scope, receive, leave)
    try:
        return await work
    except asyncio.CancelledError:
        if gone and task.uncancel() == 0:
            raise ClientGoneError from None
        raise
    finally:
        stop_listening()


def _listen(scope: Mapping[str, Any], receive: Receive, leave: Callable[[], None]) -> Callable[[], None]:
    """Have `leave` called when the caller disconnects; what is returned ends that."""
    offered = scope.get("extensions", {}).get(DISCONNECT)
    if offered is not None:
        calls = cast(list[Callable[[], None]], offered)
        calls.append(leave)
        return lambda: calls.remove(leave)
    listening: list[asyncio.Task[None]] = []

    async def listen() -> None:
        with suppress(HTTPException):  # a body that nobody asked for is too large, and nobody reads it
            while (await receive())["type"] != "http.disconnect":
                pass
            leave()

    timer = asyncio.get_running_loop().call_later(
        PATIENCE_SECONDS, lambda: listening.append(asyncio.create_task(listen(), name="disconnect"))
    )

    def stop() -> None:
        timer.cancel()
        for listener in listening:
            listener.cancel()

    return stop
