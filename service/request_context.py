"""What every request carries from the first byte to the last: its id, and the release that answers it."""

import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

REQUEST_ID_PATTERN = r"[A-Za-z0-9._:-]{1,128}"
CONTEXT_KEY = "mmgrec.context"


def _new_request_id() -> str:
    return uuid.uuid4().hex


@dataclass
class RequestContext:
    """Filled in while a request is answered; the response headers and the log tell it.

    Attributes:
        request_id: from the body, else from X-Request-ID, else made here.
        release: version of the release that answers, None while there is none.
        started: time.monotonic() when the request came; its deadline counts from here.
        queue_seconds: how long it waited for the decoder, None when nothing was decoded; the longest one of a batch.
        inference_seconds: how long the run of the decoder took that answered it, likewise.
        batch_size: how many requests shared that run.
    """

    request_id: str = field(default_factory=_new_request_id)
    release: str | None = None
    started: float = field(default_factory=time.monotonic)
    queue_seconds: float | None = None
    inference_seconds: float | None = None
    batch_size: int | None = None

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


def new_context(header: str | None) -> RequestContext:
    """Start a context. An X-Request-ID that breaks the pattern is replaced: it would end up in logs and headers."""
    if header is not None and re.fullmatch(REQUEST_ID_PATTERN, header):
        return RequestContext(request_id=header)
    return RequestContext()


def context_of(scope: Mapping[str, Any]) -> RequestContext:
    """The context of an ASGI scope that went through `RequestContextMiddleware`."""
    context = scope[CONTEXT_KEY]
    assert isinstance(context, RequestContext)
    return context
