"""Requests that would only wait for the run under way are begun together, shortly before it ends.

On a core that also decodes, a request that is handled when it comes finds cold caches, and leaves some: begun one by
one, answers cost half as much again as in groups (docs/experiments.md). Where runs are short, as on a GPU, nothing is
ever held back.
"""

import asyncio
from collections import deque
from collections.abc import Callable

LEAD_SECONDS = 0.020
"""Before the run under way ends: for reading what is asked and the histories of a full batch."""
MOST_SECONDS = 0.025
"""That anybody is held back: nobody looks at a request's own deadline meanwhile."""
STARTED_IN_A_ROW = 8
"""Before the event loop looks at its sockets: who is refused meanwhile is to hear of it within 10 ms."""


class LateStart:
    """Holds requests back; belongs to one event loop.

    Args:
        seconds_left: how long the run under way will still take; 0 for none.
    """

    def __init__(self, seconds_left: Callable[[], float]) -> None:
        self._seconds_left = seconds_left
        self._held: deque[Callable[[], None]] = deque()
        self._timer: asyncio.Handle | None = None

    @property
    def held(self) -> int:
        """How many are held back."""
        return len(self._held)

    def begin(self, request: Callable[[], None], may_be_held: Callable[[], bool] = lambda: True) -> None:
        """Call `request`: at once, or with the others when it is time; in the order in which they came.

        Args:
            request: begins with it.
            may_be_held: asked only if it would be held back; otherwise it is begun at once.
        """
        seconds = min(self._seconds_left() - LEAD_SECONDS, MOST_SECONDS)
        if (seconds <= 0 and not self._held) or not may_be_held():
            request()
            return
        self._held.append(request)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._begin_some)

    def _begin_some(self) -> None:
        self._timer = None
        try:
            for _ in range(min(STARTED_IN_A_ROW, len(self._held))):
                self._held.popleft()()
        finally:
            if self._held:
                self._timer = asyncio.get_running_loop().call_soon(self._begin_some)
