"""How a crowd of readers waits: together for others to join, and each no longer than it can afford."""

import asyncio
import math
from collections.abc import Callable


class Pause:
    """A wait of one task that whoever has less patience cuts short. Times are those of the event loop."""

    def __init__(self) -> None:
        self._over: asyncio.Future[None] | None = None
        self._until = math.inf

    async def wait(self, until: float) -> None:
        """Return at `until`, or earlier where `shorten` says so."""
        loop = asyncio.get_running_loop()
        self._over, self._until = loop.create_future(), until
        timer = loop.call_at(until, _end, self._over)
        try:
            await self._over
        finally:
            self._over = None
            timer.cancel()

    def shorten(self, until: float) -> None:
        """Let it end at `until` at the latest; costs a timer only where that is soon, but not now, and earlier."""
        if self._over is None or until >= self._until:
            return
        self._until = until
        loop = self._over.get_loop()
        if until <= loop.time():
            _end(self._over)
        else:
            loop.call_at(until, _end, self._over)


class Alarm:
    """One timer for many time limits that hardly ever come: it rings at the earliest, and finds whoever is late then.

    Args:
        ring: called with the time; gives the next limit, infinite for none.
    """

    def __init__(self, ring: Callable[[float], float]) -> None:
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None
        self._at = math.inf

    def set(self, at: float) -> None:
        """Ring at `at` at the latest."""
        if at >= self._at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._at = at
        self._timer = asyncio.get_running_loop().call_at(at, self._rings)

    def _rings(self) -> None:
        self._at, self._timer = math.inf, None
        self.set(self._ring(asyncio.get_running_loop().time()))


def _end(over: "asyncio.Future[None]") -> None:
    if not over.done():
        over.set_result(None)
