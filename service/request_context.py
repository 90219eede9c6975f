"""What every request carries from the first byte to the last, and what is told of it afterwards.

Metrics, log and traces are written once, when a request has ended, from its context alone: whoever answers a request
notes facts here and knows none of the three.
"""

import re
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

REQUEST_ID_PATTERN = r"[A-Za-z0-9._:-]{1,128}"
CONTEXT_KEY = "mmgrec.context"
_REQUEST_ID = re.compile(REQUEST_ID_PATTERN)


def _new_request_id() -> str:
    return uuid.uuid4().hex


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


class Answer(NamedTuple):
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
        batch_size: requests that shared the run of the decoder, None where nothing was decoded.
        answers: recommendations that were made.
        stages: parts of the work, in the order in which they ended.
    """

    request_id: str = field(default_factory=_new_request_id)
    release: str | None = None
    user_ids: list[str] = field(default_factory=list)
    caller: str | None = None
    is_admin: bool = False
    error_code: str | None = None
    batch_size: int | None = None
    answers: list[Answer] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)

    def stage(self, name: str, started: float) -> float:
        """A part of the work, begun at `started` (`time.monotonic()`), has ended; returns when, for the next part."""
        ended = time.monotonic()
        self.stages.append(Stage(name, started, ended))
        return ended


class Ended(NamedTuple):
    """A request that is over.

    Attributes:
        scope: of ASGI, after routing.
        context: what was noted on the way.
        status: of the answer.
        started: `time.monotonic()` at its first byte.
        ended: the same at its last.
    """

    scope: Mapping[str, Any]
    context: RequestContext
    status: int
    started: float
    ended: float


def new_context(header: str | None) -> RequestContext:
    """Start a context. An X-Request-ID that breaks the pattern is replaced: it would end up in logs and headers."""
    if header is not None and _REQUEST_ID.fullmatch(header):
        return RequestContext(request_id=header)
    return RequestContext()


def context_of(scope: Mapping[str, Any]) -> RequestContext:
    """The context of an ASGI scope that went through `RequestContextMiddleware`."""
    context = scope[CONTEXT_KEY]
    assert isinstance(context, RequestContext)
    return context
