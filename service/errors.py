"""Errors as callers see them: one shape, one table from what went wrong to what is answered."""

import difflib
import math
from typing import Any, NamedTuple, get_args

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Match

from service.redis_connection import RedisUnavailableError
from service.releases.release_admin import RollbackRefusedError
from service.releases.release_watch import NotReadyError
from service.request_context import RequestContext, context_of
from service.schemas.errors import ErrorDetail, ErrorResponse
from service.serving.batching import OverloadedError
from service.serving.disconnect import ClientGoneError
from service.serving.prepare import RequestLimitError
from service.serving.resolve import UnknownItemError
from service.serving.waiting import DeadlineError

MAX_SHOWN_VALUE = 80
MAX_SHOWN_PROBLEMS = 5


class Kind(NamedTuple):
    """How one kind of error is answered."""

    status: int
    type: str
    code: str
    retryable: bool = False


MALFORMED = Kind(400, "invalid_request", "malformed_body")
BATCH_TOO_LARGE = Kind(413, "invalid_request", "batch_too_large")
INVALID = Kind(422, "invalid_request", "validation_failed")
UNAUTHENTICATED = Kind(401, "authentication", "unauthenticated")
INTERNAL = Kind(500, "internal", "internal_error")
OVERLOADED = Kind(429, "overloaded", "queue_full", retryable=True)
DRAINING = Kind(503, "unavailable", "draining", retryable=True)

_DOMAIN: dict[type[Exception], Kind] = {
    NotReadyError: Kind(503, "unavailable", "not_ready", retryable=True),  # its own reason replaces the code
    RequestLimitError: Kind(422, "invalid_request", "limit_exceeded"),
    RollbackRefusedError: Kind(409, "invalid_request", "rollback_refused"),
    RedisUnavailableError: Kind(503, "unavailable", "redis_unavailable", retryable=True),
    UnknownItemError: Kind(404, "invalid_request", "unknown_item"),
    OverloadedError: OVERLOADED,
    DeadlineError: Kind(504, "unavailable", "deadline_exceeded", retryable=True),
    ClientGoneError: Kind(499, "invalid_request", "client_closed_request"),  # nobody reads it but the log
}
"""The attribute `retry_after_seconds` of an error becomes the header Retry-After."""
_BY_STATUS: dict[int, tuple[Kind, str | None]] = {
    400: (MALFORMED, "the body cannot be read as JSON: send one JSON object in UTF-8"),
    401: (UNAUTHENTICATED, "this route asks for an admin key: send Authorization: Bearer KEY or X-API-Key: KEY"),
    404: (Kind(404, "invalid_request", "not_found"), "there is no such route; GET /docs lists them"),
    405: (Kind(405, "invalid_request", "method_not_allowed"), "the route does not take this method; it takes: {allow}"),
    413: (Kind(413, "invalid_request", "body_too_large"), None),
}
_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
_NO_OBJECT = {"missing", "model_attributes_type", "model_type", "dict_type"}


def error_response(kind: Kind, message: str, context: RequestContext, headers: Any = None) -> Response:
    """The answer to an error."""
    context.error_code = kind.code
    detail = ErrorDetail(
        type=kind.type,
        code=kind.code,
        message=message,
        retryable=kind.retryable,
        request_id=context.request_id,
    )
    content = ErrorResponse(error=detail).model_dump_json().encode()
    return Response(content, kind.status, headers, media_type="application/json")


def add_error_handlers(app: FastAPI) -> None:
    """Answer every foreseen error of an app in the one shape; `RequestContextMiddleware` answers the unforeseen."""
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    for domain_error in _DOMAIN:
        app.add_exception_handler(domain_error, _on_domain)


async def _on_domain(request: Request, error: Exception) -> Response:
    kind, seconds = _DOMAIN[type(error)], getattr(error, "retry_after_seconds", None)
    if isinstance(error, NotReadyError):
        kind = kind._replace(code=error.reason)
    return error_response(
        kind, str(error), context_of(request.scope), None if seconds is None else retry_after(seconds)
    )


def retry_after(seconds: float) -> dict[str, str]:
    """The header that says when to come back, in whole seconds."""
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    unlisted = (Kind(error.status_code, "invalid_request", f"http_{error.status_code}"), None)
    kind, message = _BY_STATUS.get(error.status_code, unlisted)
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_methods_of(request))
    shown = str(error.detail) if message is None else message.format(allow=headers.get("Allow"))
    return error_response(kind, shown, context_of(request.scope), headers)


def _methods_of(request: Request) -> list[str]:
    """What the routes of a path take together; of several, the router names the methods of the first alone."""
    routes, scope = request.app.router.routes, request.scope
    return [
        method
        for method in _METHODS
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)
    ]


async def _on_validation(request: Request, error: Exception) -> Response:
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
    if first["type"] == "too_long" and first["loc"] == ("body", "requests"):
        return error_response(BATCH_TOO_LARGE, _in_words(first, None), context)
    shown = [_in_words(problem, request.scope["route"]) for problem in problems[:MAX_SHOWN_PROBLEMS]]
    more = f"; and {len(problems) - len(shown)} more" if len(problems) > len(shown) else ""
    return error_response(INVALID, "; ".join(shown) + more, context)


def _in_words(problem: Any, route: Any) -> str:
    """Name the field, its value and the limit."""
    reason = str(problem["msg"]).removeprefix("Value error, ")
    path = [str(part) for part in problem["loc"][1:]]
    if not path:
        return reason
    if problem["type"] == "extra_forbidden":
        where = f" of {'.'.join(path[:-1])}" if path[:-1] else ""
        fields = _fields_at(problem["loc"][:-1], route)
        nearest = difflib.get_close_matches(path[-1], fields, n=1, cutoff=0.0)
        hint = f", the nearest is {nearest[0]}" if nearest else ""
        return f"{_shown(path[-1])}: no such field{where}{hint}"
    return f"{'.'.join(path)}: {reason}, but it is {_shown(problem['input'])}"


def _fields_at(place: Any, route: Any) -> list[str]:
    """The fields that an object at some place of a body, or a query, may have; empty where it is no model of ours."""
    roots = [route.body_field] if place[0] == "body" else route.dependant.query_params
    model = _model_in([root.field_info.annotation for root in roots if root is not None])
    for part in place[1:]:
        if model is not None and not isinstance(part, int):
            model = _model_in([model.model_fields[part].annotation])
    return [] if model is None else list(model.model_fields)


def _model_in(annotations: Any) -> type[BaseModel] | None:
    """The first model that some annotations name, such as that of `list[Model] | None`."""
    for annotation in annotations:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return annotation
        if (inner := _model_in(get_args(annotation))) is not None:
            return inner
    return None


def _shown(value: Any) -> str:
    text = repr(value)
    text = text if len(text) <= MAX_SHOWN_VALUE else text[: MAX_SHOWN_VALUE - 3] + "..."
    return text.encode("utf-8", "backslashreplace").decode()
