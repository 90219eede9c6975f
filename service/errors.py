"""Errors as callers see them: one shape, one table from what went wrong to what is answered."""

import difflib
import math
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from service.recommender import RequestLimitError
from service.redis_connection import RedisUnavailableError
from service.release_watch import NotReadyError
from service.request_context import RequestContext, context_of
from service.schemas.errors import ErrorDetail, ErrorResponse
from service.schemas.field_names import field_names

MAX_SHOWN_VALUE = 80
MAX_SHOWN_PROBLEMS = 5


class Kind(NamedTuple):
    """How one kind of error is answered."""

    status: int
    type: str
    code: str
    retryable: bool = False


MALFORMED = Kind(400, "invalid_request", "malformed_body")
INVALID = Kind(422, "invalid_request", "validation_failed")
INTERNAL = Kind(500, "internal", "internal_error")

_DOMAIN: dict[type[Exception], Kind] = {
    NotReadyError: Kind(503, "unavailable", "not_ready", retryable=True),  # its own reason replaces the code
    RequestLimitError: Kind(422, "invalid_request", "limit_exceeded"),
    RedisUnavailableError: Kind(503, "unavailable", "redis_unavailable", retryable=True),
}
_BY_STATUS: dict[int, tuple[Kind, str | None]] = {
    400: (MALFORMED, "the body cannot be read as JSON: send one JSON object in UTF-8"),
    404: (Kind(404, "invalid_request", "not_found"), "there is no such route; GET /docs lists them"),
    405: (Kind(405, "invalid_request", "method_not_allowed"), "the route does not take this method; it takes: {allow}"),
    413: (Kind(413, "invalid_request", "body_too_large"), None),
}
_NO_OBJECT = {"missing", "model_attributes_type", "model_type", "dict_type"}


def error_response(kind: Kind, message: str, context: RequestContext, headers: Any = None) -> JSONResponse:
    """The answer to an error."""
    detail = ErrorDetail(
        type=kind.type,
        code=kind.code,
        message=message,
        retryable=kind.retryable,
        request_id=context.request_id,
    )
    return JSONResponse(ErrorResponse(error=detail).model_dump(), kind.status, headers)


def add_error_handlers(app: FastAPI) -> None:
    """Answer every foreseen error of an app in the one shape; `RequestContextMiddleware` answers the unforeseen."""
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    for domain_error in _DOMAIN:
        app.add_exception_handler(domain_error, _on_domain)


async def _on_domain(request: Request, error: Exception) -> JSONResponse:
    kind, headers = _DOMAIN[type(error)], {}
    if isinstance(error, NotReadyError):
        kind = kind._replace(code=error.reason)
    if isinstance(error, NotReadyError | RedisUnavailableError):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_seconds)))
    return error_response(kind, str(error), context_of(request.scope), headers)


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    unlisted = (Kind(error.status_code, "invalid_request", f"http_{error.status_code}"), None)
    kind, message = _BY_STATUS.get(error.status_code, unlisted)
    shown = str(error.detail) if message is None else message.format(allow=headers.get("Allow"))
    return error_response(kind, shown, context_of(request.scope), headers)


async def _on_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems = error.errors()
    context = context_of(request.scope)
    first = problems[0]
    if first["type"] == "json_invalid":
        why = f"the body is no JSON: {first['ctx']['error']} at character {first['loc'][-1]}; send one JSON object"
        return error_response(MALFORMED, why, context)
    if first["loc"] == ("body",) and first["type"] in _NO_OBJECT:
        why = 'the body is no JSON object; send one, such as {"user_id": "u1"}, with Content-Type: application/json'
        return error_response(MALFORMED, why, context)
    shown = [_in_words(problem, request) for problem in problems[:MAX_SHOWN_PROBLEMS]]
    more = f"; and {len(problems) - len(shown)} more" if len(problems) > len(shown) else ""
    return error_response(INVALID, "; ".join(shown) + more, context)


def _in_words(problem: Any, request: Request) -> str:
    """Name the field, its value and the limit."""
    reason = str(problem["msg"]).removeprefix("Value error, ")
    path = [str(part) for part in problem["loc"][1:]]
    if not path:
        return reason
    if problem["type"] == "extra_forbidden":
        nearest = difflib.get_close_matches(path[-1], field_names(request.scope["route"], path), n=1, cutoff=0.0)[0]
        where = f" of {'.'.join(path[:-1])}" if path[:-1] else ""
        return f"{_shown(path[-1])}: no such field{where}, the nearest is {nearest}"
    return f"{'.'.join(path)}: {reason}, but it is {_shown(problem['input'])}"


def _shown(value: Any) -> str:
    text = repr(value)
    text = text if len(text) <= MAX_SHOWN_VALUE else text[: MAX_SHOWN_VALUE - 3] + "..."
    return text.encode("utf-8", "backslashreplace").decode()
