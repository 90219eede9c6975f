"""Leaving without losing a request: first say so, then refuse new ones, then wait for those that were accepted.

    serving ──SIGTERM──▶ draining ──grace──▶ refusing ──all answered, or the limit──▶ over

While draining, `/health/ready` says 503 and every answer closes its connection, so that load balancers and kept
connections go elsewhere; requests are still answered. Everything follows from the clock: nothing has to be scheduled.
"""

import time


class Drain:
    """How far a process is on its way out.

    Args:
        grace_seconds: how long requests are accepted after `begin`.
        limit_seconds: how long accepted ones have after that.

    Attributes:
        in_flight: requests that have come and are not answered yet; the middleware counts them.
    """

    def __init__(self, *, grace_seconds: float, limit_seconds: float) -> None:
        self._grace_seconds = grace_seconds
        self._limit_seconds = limit_seconds
        self._began: float | None = None
        self.in_flight = 0

    def begin(self) -> None:
        """Start leaving; may be called by a signal handler, and again."""
        if self._began is None:
            self._began = time.monotonic()

    @property
    def draining(self) -> bool:
        """Whether the process is on its way out."""
        return self._began is not None

    @property
    def refusing(self) -> bool:
        """Whether new requests are refused."""
        return self._began is not None and time.monotonic() - self._began >= self._grace_seconds

    @property
    def seconds_left(self) -> float:
        """Until the process is to end, whoever is still there; grace and limit while it is not on its way out."""
        gone = 0.0 if self._began is None else time.monotonic() - self._began
        return max(0.0, self._grace_seconds + self._limit_seconds - gone)

    @property
    def over(self) -> bool:
        """Whether the process may end."""
        if self._began is None or not self.refusing:
            return False
        return self.in_flight == 0 or self.seconds_left == 0
