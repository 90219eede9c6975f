"""When a call is made again, and after how long: decided here for both clients, which only send and sleep."""

import email.utils
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from mmgrec_client.errors import NoAnswerError, UnexpectedAnswerError

LATER = frozenset({429, 503})
"""Statuses that mean: not now."""
LOST = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout)
"""The connection failed. Not among them: an answer that was too slow, which asking again would make no faster."""


@dataclass(frozen=True, kw_only=True)
class Retries:
    """How often, and for how long, a call is made again that got a 429, a 503, or whose connection failed.

    Before attempt k + 1 it waits for a random time of at most `first_wait_seconds` x 2^(k - 1), and for what
    Retry-After asks besides; where that would pass `total_seconds`, the error is raised at once.

    Attributes:
        attempts: how often a call is sent at most, 1 for no repetition.
        first_wait_seconds: longest wait before the second attempt.
        longest_wait_seconds: longest wait before any other, Retry-After not counted.
        total_seconds: time limit of a call with all its attempts and waits: no attempt begins after it, and none has a
            longer timeout than what is left of it (as httpx counts: for connecting, for sending, for each read).

    Raises:
        ValueError: a figure is out of its range.
    """

    attempts: int = 3
    first_wait_seconds: float = 0.1
    longest_wait_seconds: float = 5.0
    total_seconds: float = 15.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts must be at least 1, but it is {self.attempts}")
        for name in ("first_wait_seconds", "longest_wait_seconds", "total_seconds"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be a positive number of seconds, but it is {getattr(self, name)}")


class Attempts:
    """The attempts of one call.

    Args:
        retries: what is allowed.
        timeout_seconds: of one attempt.
        repeatable: whether the call may be made twice at all.
        clock: seconds that only grow.
        jitter: a random number from 0 to its argument.
    """

    def __init__(
        self,
        retries: Retries,
        *,
        timeout_seconds: float,
        repeatable: bool,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float], float] = lambda most: random.uniform(0, most),
    ) -> None:
        self._retries = retries
        self._timeout_seconds = timeout_seconds
        self._most = retries.attempts if repeatable else 1
        self._clock = clock
        self._jitter = jitter
        self._ends_at = clock() + retries.total_seconds
        self.made = 0

    def begin(self) -> float:
        """Begin an attempt; gives the seconds that it may take."""
        self.made += 1
        return max(0.001, min(self._timeout_seconds, self._ends_at - self._clock()))

    def wait_after(self, response: httpx.Response) -> float | None:
        """Seconds to wait before the next attempt, or None: then this is the answer."""
        return self._wait(retry_after_seconds(response)) if response.status_code in LATER else None

    def wait_after_failure(self, error: httpx.RequestError) -> float:
        """Seconds to wait before the next attempt.

        Raises:
            NoAnswerError: there is no next attempt.
            UnexpectedAnswerError: there was an answer, but it cannot be decoded.
        """
        if isinstance(error, httpx.DecodingError):
            raise UnexpectedAnswerError(
                f"the body of an answer is not encoded as its Content-Encoding says ({error}); see that base_url leads "
                "to MMGRec itself, and that nothing in between changes its answers"
            ) from error
        seconds = self._wait(None) if isinstance(error, LOST) else None
        if seconds is None:
            why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            where = error.request.url.copy_with(path="/", query=None, userinfo=b"")  # paths hold user ids
            raise NoAnswerError(
                f"no answer from {where} ({why}) in attempt {self.made} of at most {self._most}: see that the service "
                "runs there, or give timeout_seconds and Retries.total_seconds more time"
            ) from error
        return seconds

    def _wait(self, asked_seconds: float | None) -> float | None:
        if self.made >= self._most:
            return None
        longest = min(self._retries.first_wait_seconds * 2.0 ** (self.made - 1), self._retries.longest_wait_seconds)
        seconds = (asked_seconds or 0.0) + self._jitter(longest)
        return seconds if self._clock() + seconds < self._ends_at else None


def retry_after_seconds(response: httpx.Response) -> float | None:
    """What an answer's Retry-After asks for: seconds, or a date, which proxies send; None without a readable one."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdecimal():
        return float(text)
    try:
        date = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, date.timestamp() - time.time())
