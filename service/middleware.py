"""What surrounds every request: its context, its headers, a limit on its body, and an answer when the code fails.

Plain ASGI: Starlette's BaseHTTPMiddleware costs a task and a queue per request.
"""

import logging

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import INTERNAL, error_response
from service.request_context import CONTEXT_KEY, new_context

logger = logging.getLogger(__name__)


class RequestContextMiddleware:
    """Gives requests a context and responses its headers; turns unforeseen errors into a 500."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_headers = Headers(scope=scope)
        context = scope[CONTEXT_KEY] = new_context(request_headers.get("x-request-id"))
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], *context.headers()]
            await send(message)

        bounded = _bounded(receive, request_headers.get("content-length"), self._max_body_bytes)
        try:
            await self._app(scope, bounded, send_with_headers)
        except Exception:
            logger.exception("request %s failed", context.request_id)
            if started:
                raise
            message = "the service failed on this request; its log has the cause under this request_id"
            await error_response(INTERNAL, message, context)(scope, receive, send_with_headers)


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
