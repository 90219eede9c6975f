"""Refusals before there is a request: when the decoder's queue is full, as soon as its head has come.

`service.serving.gate` refuses the same requests for the same reason, but by then each has cost half of one that is
answered, and at twice the load that can be borne a quarter of the answers would be lost to refusing the others. So
whoever is refused here is not asked for a key and has no line in the log: there is one a second that counts them.
"""

import logging
import math
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple

from service.errors import OVERLOADED, error_response, retry_after
from service.http_head import header_lines
from service.request_context import RequestContext, new_context
from service.serving.admission import Admission
from service.serving.batching import OverloadedError
from service.serving.drain import Drain
from service.telemetry.metrics import Metrics

ROUTES = {b"/recommend": "/recommend", b"/recommend/batch": "/recommend/batch"}
SECONDS_BETWEEN_LINES = 1.0

Headers = Iterable[tuple[bytes, bytes]]
"""Names in lower case, and values."""

logger = logging.getLogger(__name__)


class _Answer(NamedTuple):
    """What every refusal says that is due to the same wait; the request's id stands between the parts of the body."""

    headers: bytes
    before_id: bytes
    after_id: bytes


class Shedding:
    """Refuses, counts, and says so now and then.

    Args:
        drain: a process that is about to end refuses in its own way.
        admission: of the running service.
        metrics: told of every refusal.
        knows: whether request headers show who the caller is, if that is asked for.
        max_body_bytes: a larger body is refused for its size.
        clock: seconds, for the line in the log.
    """

    def __init__(
        self,
        drain: Drain,
        admission: Callable[[], Admission],
        metrics: Metrics,
        *,
        knows: Callable[[Headers], bool],
        max_body_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._drain = drain
        self._admission = admission
        self._metrics = metrics
        self._knows = knows
        self._max_body_bytes = max_body_bytes
        self._clock = clock
        self._unsaid = 0
        self._said_at = -math.inf
        self._last = (0.0, 0.0)  # seconds that an answer would have taken, and their limit

    @property
    def decides(self) -> bool:
        """Whether requests are let in or refused here: a process that leaves has other things to say."""
        return not self._drain.draining

    def seconds(self) -> float | None:
        """How long an answer would take, if that is too long; None for those who are let in."""
        return self._admission().refusal()

    def begin(self, request: Callable[[], None], path: str, headers: Headers) -> None:
        """Begin with a request that was let in: now, or when it is time.

        Strangers are begun at once and then turned away: those who are held back count as if they were in the queue.
        """

        def may_be_held() -> bool:
            return path in ROUTES.values() and self._knows(headers)

        self._admission().late_start.begin(request, may_be_held)

    def refusal(self, target: bytes, body_bytes: int, request_id: bytes | None, seconds: float) -> bytes | None:
        """Header lines, empty line and body of a 429; None for a request that does not wait for the decoder.

        Args:
            target: of the request line.
            body_bytes: length of the body; one that is too long is refused elsewhere.
            request_id: the caller's own, None without one.
            seconds: how long an answer would take.
        """
        route = ROUTES.get(target)
        if route is None or body_bytes > self._max_body_bytes:
            return None
        limit = self._admission().limit_seconds
        self._metrics.count(route, OVERLOADED.status, OVERLOADED.code)
        self._unsaid += 1
        self._last = (seconds, limit)
        self.say()
        given = None if request_id is None else request_id.decode("latin-1")
        return _rendered(seconds, limit, new_context(given).request_id.encode())

    def say(self, *, at_once: bool = False) -> None:
        """Log how many were refused since the last line; to be called now and then, or the end of a burst is not told.

        Args:
            at_once: even if the last line is younger than a second: the process ends.
        """
        if not self._unsaid:
            return
        now = self._clock()
        if at_once or now - self._said_at >= SECONDS_BETWEEN_LINES:
            logger.warning(
                "%d request%s refused with 429: an answer would take %.3f s, the limit is %.3f s",
                self._unsaid,
                "" if self._unsaid == 1 else "s",
                *self._last,
            )
            self._unsaid, self._said_at = 0, now


def _rendered(seconds: float, limit_seconds: float, request_id: bytes) -> bytes:
    answer = _answer(round(seconds, 2), limit_seconds)
    body = b"%s%s%s" % (answer.before_id, request_id, answer.after_id)
    return b"%scontent-length: %d\r\nx-request-id: %s\r\n\r\n%s" % (answer.headers, len(body), request_id, body)


@lru_cache(maxsize=256)
def _answer(seconds: float, limit_seconds: float) -> _Answer:
    """Taken from the response that the gate would send, so that both say the same."""
    placeholder = RequestContext()
    why = str(OverloadedError(seconds, limit_seconds))
    response = error_response(OVERLOADED, why, placeholder, retry_after(seconds))
    before, after = bytes(response.body).split(placeholder.request_id.encode())
    headers = [header for header in response.raw_headers if header[0] != b"content-length"]
    return _Answer(header_lines(headers), before, after)
