"""Refusals before there is a request: when the decoder's queue is full, as soon as the headers have been read.

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
ADMITTED = "mmgrec.admitted"
"""Extension of an ASGI scope whose request was let in here."""
SECONDS_BETWEEN_LINES = 1.0

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
        max_body_bytes: a larger body is refused for its size.
        clock: seconds, for the line in the log.
    """

    def __init__(
        self,
        drain: Drain,
        admission: Callable[[], Admission],
        metrics: Metrics,
        *,
        max_body_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._drain = drain
        self._admission = admission
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._clock = clock
        self._unsaid = 0
        self._said_at = -math.inf
        self._last = (0.0, 0.0)  # seconds that an answer would have taken, and their limit

    def decides(self, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether a POST request waits for the decoder and has nothing else to be refused for.

        Args:
            target: of the request line.
            headers: names in lower case, and values.
        """
        if target not in ROUTES or self._drain.draining:
            return False
        length = next((value for name, value in headers if name == b"content-length"), b"")
        return length.isdigit() and int(length) <= self._max_body_bytes

    def refusal(self, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> tuple[bytes, bytes] | None:
        """If there is no time for such a request, header lines and body of its 429; None to let it in."""
        admission = self._admission()
        seconds = admission.refusal()
        if seconds is None:
            return None
        self._metrics.count(ROUTES[target], OVERLOADED.status, OVERLOADED.code)
        self._unsaid += 1
        self._last = (seconds, admission.limit_seconds)
        self.say()
        given = None
        for name, value in headers:
            if name == b"x-request-id":  # the last one holds, as it does for every other request
                given = value.decode("latin-1")
        return _rendered(seconds, admission.limit_seconds, new_context(given).request_id.encode())

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


def _rendered(seconds: float, limit_seconds: float, request_id: bytes) -> tuple[bytes, bytes]:
    answer = _answer(round(seconds, 2), limit_seconds)
    body = b"%s%s%s" % (answer.before_id, request_id, answer.after_id)
    return b"%scontent-length: %d\r\nx-request-id: %s\r\n" % (answer.headers, len(body), request_id), body


@lru_cache(maxsize=256)
def _answer(seconds: float, limit_seconds: float) -> _Answer:
    """Taken from the response that the gate would send, so that both say the same."""
    placeholder = RequestContext()
    why = str(OverloadedError(seconds, limit_seconds))
    response = error_response(OVERLOADED, why, placeholder, retry_after(seconds))
    before, after = bytes(response.body).split(placeholder.request_id.encode())
    headers = [header for header in response.raw_headers if header[0] != b"content-length"]
    return _Answer(header_lines(headers), before, after)
