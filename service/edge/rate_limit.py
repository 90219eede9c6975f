"""So many requests per second and key, and no more.

Counted in this process: with N replicas behind a load balancer a key gets up to N times the limit.
"""

import math
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from service.edge.doors import door_of
from service.errors import Kind, error_response
from service.request_context import context_of

RATE_LIMITED = Kind(429, "overloaded", "rate_limited", retryable=True)
ANONYMOUS = "anonymous"
"""Without keys all callers are one."""


class TokenBucket:
    """Holds up to `burst` tokens and gains `rate` a second; a request takes one.

    Args:
        rate: tokens per second.
        burst: tokens at most, and at the start.
        now: seconds on any clock that only grows.
    """

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._filled_at = now

    def take(self, now: float) -> float:
        """Take a token; 0 when there was one, else the seconds until there is, and nothing was taken."""
        self._fill(now)
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self._rate

    def owe(self, tokens: int, now: float) -> None:
        """Take tokens that may not be there: those that come later pay for them."""
        self._fill(now)
        self._tokens -= tokens

    def _fill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now


class RateLimitMiddleware:
    """Answers 429 with the seconds to wait, before the body is read; stands behind authentication.

    A call that makes several recommendations (`/recommend/batch`) costs as many: how many is known once it is answered,
    so the key pays afterwards and waits longer the next time. Health, metrics and admin calls are not counted.

    Args:
        app: what is behind the limit.
        per_second: requests per second of one key.
        burst: requests of one key at once.
        clock: seconds that only grow; tests pass their own.
    """

    def __init__(
        self, app: ASGIApp, *, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._buckets: dict[str, TokenBucket] = {}  # names of keys, so a few hundred at most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102
        if scope["type"] != "http" or door_of(scope["path"]) != "api":
            await self._app(scope, receive, send)
            return
        context = context_of(scope)
        bucket = self._bucket(context.caller or ANONYMOUS)
        wait_seconds = bucket.take(self._clock())
        if wait_seconds:
            seconds = max(1, math.ceil(wait_seconds))
            limit = f"{self._per_second:g} requests per second with a burst of {self._burst}"
            message = f"this key may make {limit}; try again in {seconds} s"
            refusal = error_response(RATE_LIMITED, message, context, {"Retry-After": str(seconds)})
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)
        if len(context.answers) > 1:
            bucket.owe(len(context.answers) - 1, self._clock())

    def _bucket(self, name: str) -> TokenBucket:
        if name not in self._buckets:
            self._buckets[name] = TokenBucket(self._per_second, self._burst, self._clock())
        return self._buckets[name]


def burst_of(per_second: float, burst: int | None) -> int:
    """The burst of a setting, by default what one second allows."""
    return burst if burst is not None else max(1, math.ceil(per_second))
