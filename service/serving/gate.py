"""What decides, before a body is read, whether a request gets any further: draining and admission. Plain ASGI."""

import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import DRAINING, OVERLOADED, error_response, retry_after
from service.request_context import context_of
from service.serving.admission import ADMITTED, Admission
from service.serving.batching import OverloadedError
from service.serving.drain import Drain

ALWAYS_ANSWERED = ("/health", "/livez", "/readyz", "/v2", "/metrics", "/info")
"""Who watches a service that leaves must still be told so."""
DECODING = {"POST": re.compile("/recommend"), "GET": re.compile("/items/.*/similar$")}
"""Routes that wait for the decoder, by method."""
REFUSED_WHEN_DRAINING = "this process is about to end: send the request again, another one will answer it"
RETRY_DRAINED_SECONDS = 1.0


class GateMiddleware:
    """Refuses with 503 when the process leaves and with 429 when the decoder's queue is full; counts who gets in."""

    def __init__(self, app: ASGIApp, *, drain: Drain) -> None:
        self._app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102
        if scope["type"] != "http" or scope["path"].startswith(ALWAYS_ANSWERED):
            await self._app(scope, receive, send)
            return
        drain = self._drain

        async def send_and_close(message: Message) -> None:
            if drain.draining and message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        if drain.refusing and ADMITTED not in scope.get("extensions", {}):
            headers = retry_after(RETRY_DRAINED_SECONDS)
            refusal = error_response(DRAINING, REFUSED_WHEN_DRAINING, context_of(scope), headers)
            await refusal(scope, receive, send_and_close)
            return
        drain.in_flight += 1
        try:
            decoding = DECODING.get(scope["method"])
            if decoding is not None and decoding.match(scope["path"]):
                await self._admit(scope, receive, send_and_close)
            else:
                await self._app(scope, receive, send_and_close)
        finally:
            drain.in_flight -= 1

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        admission: Admission = scope["app"].state.runtime.admission
        seconds = None if ADMITTED in scope.get("extensions", {}) else admission.refusal()
        if seconds is None:
            await self._app(scope, receive, send)
            return
        why = str(OverloadedError(seconds, admission.limit_seconds))
        response = error_response(OVERLOADED, why, context_of(scope), retry_after(seconds))
        await response(scope, receive, send)
