"""What every request carries from the first byte to the last: its id, and the release that answers it."""

import re
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
    """

    request_id: str = field(default_factory=_new_request_id)
    release: str | None = None


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
