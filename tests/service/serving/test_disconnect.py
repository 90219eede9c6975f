"""Work for a caller who leaves, told by the server's own call or found by listening."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from service.serving.disconnect import DISCONNECT, PATIENCE_SECONDS, ClientGoneError, unless_gone


async def receive_forever() -> Any:
    await asyncio.sleep(60)


async def receive_disconnect() -> Any:
    return {"type": "http.disconnect"}


async def work(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"


def test_a_server_that_calls_stops_the_work() -> None:
    async def main() -> None:
        calls: list[Callable[[], None]] = []
        asyncio.get_running_loop().call_later(0.01, lambda: [leave() for leave in calls])
        with pytest.raises(ClientGoneError):
            await unless_gone({"extensions": {DISCONNECT: calls}}, receive_forever, work(60))
        assert calls == []

    asyncio.run(main())


def test_a_server_that_does_not_call_is_listened_to() -> None:
    async def main() -> None:
        with pytest.raises(ClientGoneError):
            await unless_gone({}, receive_disconnect, work(60))
        assert await unless_gone({}, receive_disconnect, work(0)) == "done"  # sooner than anybody listens
        assert await unless_gone({}, receive_forever, work(2 * PATIENCE_SECONDS)) == "done"
        await asyncio.sleep(0)  # the cancelled listener ends
        assert len(asyncio.all_tasks()) == 1  # nobody is left listening

    asyncio.run(main())


@pytest.mark.parametrize("scope", [{}, {"extensions": {DISCONNECT: []}}], ids=["listening", "called"])
def test_who_is_cancelled_otherwise_is_not_gone(scope: dict[str, Any]) -> None:
    async def main() -> None:
        task = asyncio.create_task(unless_gone(scope, receive_forever, work(60)))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
