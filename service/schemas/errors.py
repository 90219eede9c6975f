"""The one shape of every error, and which statuses a route may answer with."""

from typing import Any

from pydantic import BaseModel


class ErrorDetail(BaseModel):
    """What went wrong and what to do."""

    type: str
    code: str
    message: str
    retryable: bool
    request_id: str


class ErrorResponse(BaseModel):
    """The one shape of every error."""

    error: ErrorDetail


_DESCRIPTIONS = {
    400: "The body is no JSON object.",
    404: "The release has no such item.",
    413: "The body, or the list of requests, is too large.",
    422: "A field is wrong; the message names it.",
    429: "The decoder's queue is full; see Retry-After.",
    500: "A fault of the service; its log has the request id.",
    503: "No release is loaded, or the process is about to end; see Retry-After.",
    504: "The deadline has passed.",
}


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route documents of the errors that it may answer with."""
    return {status: {"model": ErrorResponse, "description": _DESCRIPTIONS[status]} for status in statuses}


ERROR_RESPONSES = error_responses(400, 413, 422, 429, 500, 503, 504)
"""Of routes that take a body and decode."""
