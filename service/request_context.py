"""What every request carries from the first byte to the last, and what is told of it afterwards.

Metrics, log and traces are written once, when a request has ended, from its context alone: whoever answers a request
notes facts here and knows none of the three.
"""

import random
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

REQUEST_ID_PATTERN = r"[A-Za-z0-9._:-]{1,128}"
CONTEXT_KEY = "mmgrec.context"
_REQUEST_ID = re.compile(REQUEST_ID_PATTERN)


def _new_request_id() -> str:
    """Unique, and no secret: a call of the operating system for each would cost more than it is worth."""
    return f"{random.getrandbits(128):032x}"


class Stage(NamedTuple):
    """One part of the work on a request.

    Attributes:
        name: histories (Redis), prepare, queue (waiting for the decoder), decode or resolve.
        started: `time.monotonic()` at its start.
        ended: the same at its end.
    """

    name: str
    started: float
    ended: float


class AnswerFacts(NamedTuple):
    """What one recommendation was; nothing in it says for whom.

    Attributes:
        release: version that answered.
        num_items: items of that release.
        rows: item rows that were returned.
        source: "model" or "fallback:popular".
        fallback_reason: why it was not the model, else None.
        degraded: whether something was away that a better answer needs.
        exhausted: whether fewer items were legal than asked for.
        beam_width: tier that it was decoded with.
        history_length: items that were decoded from.
        unknown_history_items: items of the history that the release does not know.
    """

    release: str
    num_items: int
    rows: Sequence[int]
    source: str
    fallback_reason: str | None
    degraded: bool
    exhausted: bool
    beam_width: int
    history_length: int
    unknown_history_items: int


class StageClock:
    """Times the stages of one recommendation, one after the other; the first begins now."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        self._at = time.monotonic()

    def end(self, name: str, seconds: float | None = None) -> None:
        """A stage has ended, and the next one begins: now, or `seconds` after it began where others have timed it."""
        ended = time.monotonic() if seconds is None else self._at + seconds
        self.stages.append(Stage(name, self._at, ended))
        self._at = ended

    def begin(self) -> None:
        """The next stage begins only now; what lies between is nobody's."""
        self._at = time.monotonic()


@dataclass(slots=True)
class RequestContext:
    """Filled in while a request is answered; the response headers, the log, the metrics and the trace tell it.

    Attributes:
        request_id: from the body, else from X-Request-ID, else made here.
        release: version of the release that answers, None while there is none.
        user_ids: users that the request is about; logs hold their keyed hashes only.
        caller: name of the API key that was shown, None without one.
        is_admin: whether an admin key was shown.
        error_code: code of the error that was answered, None without one.
        started: `time.monotonic()` when the request came; its deadline counts from here.
        queue_seconds: how long it waited for the decoder, None when nothing was decoded; the longest one of a batch.
        inference_seconds: how long the run of the decoder took that answered it, likewise.
        batch_size: how many requests shared that run.
        answers: recommendations that were made.
        stages: parts of the work, in the order in which they ended.
    """

    request_id: str = field(default_factory=_new_request_id)
    release: str | None = None
    user_ids: list[str] = field(default_factory=list)
    caller: str | None = None
    is_admin: bool = False
    error_code: str | None = None
    started: float = field(default_factory=time.monotonic)
    queue_seconds: float | None = None
    inference_seconds: float | None = None
    batch_size: int | None = None
    answers: list[AnswerFacts] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What the response's headers tell: ids, and times in ms."""
        told = {
            b"x-request-id": self.request_id,
            b"x-release": self.release,
            b"x-total-time": _milliseconds(time.monotonic() - self.started),
            b"x-queue-time": _milliseconds(self.queue_seconds),
            b"x-inference-time": _milliseconds(self.inference_seconds),
        }
        return [(name, value.encode()) for name, value in told.items() if value is not None]


def _milliseconds(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds * 1000:.3f}"


class Ended(NamedTuple):
    """A request that is over.

    Attributes:
        scope: of ASGI, after routing.
        context: what was noted on the way.
        status: of the answer.
        ended: `time.monotonic()` after its last byte.
    """

    scope: Mapping[str, Any]
    context: RequestContext
    status: int
    ended: float


def new_context(header: str | None, since: float | None = None) -> RequestContext:
    """Start a context. An X-Request-ID that breaks the pattern is replaced: it would end up in logs and headers.

    Args:
        header: X-Request-ID.
        since: `time.monotonic()` when the request came, if that was before now.
    """
    started = time.monotonic() if since is None else since
    if header is not None and _REQUEST_ID.fullmatch(header):
        return RequestContext(request_id=header, started=started)
    return RequestContext(started=started)


def context_of(scope: Mapping[str, Any]) -> RequestContext:
    """The context of an ASGI scope that went through `RequestContextMiddleware`."""
    context = scope[CONTEXT_KEY]
    assert isinstance(context, RequestContext)
    return context
