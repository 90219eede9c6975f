"""What surrounds every request: its context, its headers, limits on headers and body, an answer when the code fails.

Plain ASGI: Starlette's BaseHTTPMiddleware costs a task and a queue per request.
"""

import logging
import time
import traceback

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import INTERNAL, Kind, error_response
from service.request_context import CONTEXT_KEY, Ended, RequestContext, new_context
from service.serving.admission import ADMITTED
from service.telemetry.observation import CLIENT_GONE, Observation, users_of

logger = logging.getLogger(__name__)

HEADERS_TOO_LARGE = Kind(431, "invalid_request", "headers_too_large")


class BrokenAnswerError(RuntimeError):
    """An answer had begun when the code failed: the connection is closed, there is no other way to say so."""


class RequestContextMiddleware:
    """Gives requests a context and responses its headers; turns unforeseen errors into a 500.

    Args:
        app: what is surrounded.
        max_body_bytes: largest body.
        max_header_bytes: largest headers, names and values together.
        observation: where every request is told when it has ended.
    """

    def __init__(self, app: ASGIApp, *, max_body_bytes: int, max_header_bytes: int, observation: Observation) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._max_header_bytes = max_header_bytes
        self._observation = observation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, declared, header_bytes = _read_headers(scope)
        admitted = scope.get("extensions", {}).get(ADMITTED, {})
        context = scope[CONTEXT_KEY] = new_context(request_id, admitted.get("since"))
        status = CLIENT_GONE

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *context.headers()]
            await send(message)

        metrics = self._observation.metrics
        metrics.in_flight += 1
        try:
            if header_bytes > self._max_header_bytes:
                await self._refuse_headers(header_bytes, context)(scope, receive, send_with_headers)
            else:
                bounded = _bounded(receive, declared, self._max_body_bytes)
                await self._app(scope, bounded, send_with_headers)
        except Exception:  # noqa: BLE001 - whatever it is, the caller gets an answer and the log the trace
            self._report(scope, context)
            if status != CLIENT_GONE:
                status = 500
                raise BrokenAnswerError(f"request {context.request_id} failed after its answer had begun") from None
            message = "the service failed on this request; its log has the cause under this request_id"
            await error_response(INTERNAL, message, context)(scope, receive, send_with_headers)
        finally:
            metrics.in_flight -= 1
            self._observation.ended(Ended(scope, context, status, time.monotonic()))

    def _refuse_headers(self, header_bytes: int, context: RequestContext) -> ASGIApp:
        message = (
            f"the headers have {header_bytes} bytes, at most {self._max_header_bytes} are accepted; "
            "send less, or raise MMGREC_MAX_HEADER_BYTES"
        )
        return error_response(HEADERS_TOO_LARGE, message, context)

    def _report(self, scope: Scope, context: RequestContext) -> None:
        """Log the trace of what is being handled; its text may hold what the request said of its user."""
        trace = self._observation.redaction.without_users(traceback.format_exc(), users_of(scope, context))
        logger.error("request %s failed\n%s", context.request_id, trace)


def _read_headers(scope: Scope) -> tuple[str | None, str | None, int]:
    """X-Request-ID, Content-Length and the size of all headers, in one pass."""
    request_id = declared = None
    size = 0
    for name, value in scope["headers"]:
        size += len(name) + len(value)
        if name == b"x-request-id":
            request_id = value.decode("latin-1")
        elif name == b"content-length":
            declared = value.decode("latin-1")
    return request_id, declared, size


def _bounded(receive: Receive, declared: str | None, limit: int) -> Receive:
    """A `receive` that raises HTTPException 413 once a body is, or says it will be, larger than `limit` bytes."""
    received = 0

    async def bounded() -> Message:
        nonlocal received
        if declared is not None and declared.isdecimal() and int(declared) > limit:
            raise _too_large(limit)
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise _too_large(limit)
        return message

    return bounded


def _too_large(limit: int) -> HTTPException:
    # FastAPI passes on its own HTTPException alone; anything else that reading a body raises becomes a 400.
    return HTTPException(413, f"the body is larger than {limit} bytes; send less, or raise MMGREC_MAX_BODY_BYTES")
