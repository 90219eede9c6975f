"""Keeps a Redis that does not answer from costing every request its time limit."""

import time

from service.redis_connection import is_timeout

PAUSE_SECONDS = 1.0


class CircuitBreaker:
    """Refuses for a while after a timeout, then lets one caller try while the others are still refused.

    Only timeouts count: a refused connection or a refused command is known at once and costs nobody anything, so after
    a restart the very first request is answered. Not for threads.

    Args:
        pause_seconds: how long one timeout keeps callers away, and how often one of them tries.
    """

    def __init__(self, pause_seconds: float = PAUSE_SECONDS) -> None:
        self._pause_seconds = pause_seconds
        self._again_at: float | None = None  # time.monotonic(); None while all is well

    @property
    def is_open(self) -> bool:
        """Whether the last call that came to an end timed out."""
        return self._again_at is not None

    def refuses(self) -> bool:
        """Whether to fail at once; who is let through must say how it went."""
        if self._again_at is None:
            return False
        now = time.monotonic()
        if now < self._again_at:
            return True
        self._again_at = now + self._pause_seconds
        return False

    def answered(self) -> None:
        """A call came back in time, with an answer or a refusal."""
        self._again_at = None

    def failed(self, error: Exception) -> None:
        """A call raised this; time may have run out, or Redis refused."""
        if is_timeout(error):
            self.timed_out()
        else:
            self.answered()

    def timed_out(self) -> None:
        """A call was given up."""
        self._again_at = time.monotonic() + self._pause_seconds
