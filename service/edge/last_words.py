"""What a connection is told before it is closed for what it sent: the one JSON error, where no request came about."""

from collections.abc import Iterable

from service.edge.middleware import HEADERS_TOO_LARGE
from service.errors import Kind, error_response
from service.http_head import header_lines, status_line
from service.request_context import RequestContext

MALFORMED_REQUEST = Kind(400, "invalid_request", "malformed_request")
TOO_MANY_AHEAD = Kind(400, "invalid_request", "too_many_pipelined")
TOO_SLOW = Kind(408, "invalid_request", "request_timeout", retryable=True)

__all__ = ["HEADERS_TOO_LARGE", "MALFORMED_REQUEST", "TOO_MANY_AHEAD", "TOO_SLOW", "last_words"]


def last_words(kind: Kind, message: str, default_headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The whole answer, from the status line on."""
    context = RequestContext()
    response = error_response(kind, message, context)
    headers = [
        *default_headers,
        *response.raw_headers,
        (b"x-request-id", context.request_id.encode()),
        (b"connection", b"close"),
    ]
    return status_line(kind.status) + header_lines(headers) + b"\r\n" + bytes(response.body)
