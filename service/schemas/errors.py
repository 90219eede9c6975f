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


ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorResponse, "description": "The body is no JSON object."},
    413: {"model": ErrorResponse, "description": "The body is too large."},
    422: {"model": ErrorResponse, "description": "A field is wrong; the message names it."},
    500: {"model": ErrorResponse, "description": "A fault of the service; its log has the request id."},
    503: {"model": ErrorResponse, "description": "No release is loaded; see Retry-After."},
}
