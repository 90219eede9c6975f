"""The busiest routes from bytes to model to bytes: pydantic reads the body and writes the answer.

FastAPI matches routes, parses JSON into Python objects, solves dependencies and validates the answer that we have just
built, which costs about as much as all of our own work on a request. Whatever is unusual goes to FastAPI after all: a
body that is not right, another content type, another method. So errors and the OpenAPI document stay FastAPI's.
"""

from collections.abc import Iterable
from typing import Any

from fastapi import HTTPException, Request, Response
from pydantic import BaseModel, ValidationError
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

JSON = b"application/json"


class DirectMiddleware:
    """Answers POST requests of some routes itself; to be the innermost middleware.

    Args:
        app: FastAPI's own path, which has the same routes.
        routes: their endpoints take exactly (body: some model, request: Request) and return a model, with status 200.
    """

    def __init__(self, app: ASGIApp, *, routes: Iterable[Any]) -> None:
        self._app = app
        self._routes: dict[str, tuple[Route, type[BaseModel]]] = {
            route.path: (route, route.endpoint.__annotations__["body"]) for route in routes
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in self._routes:
            await self._answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        route, body_model = self._routes[scope["path"]]
        messages: list[Message] = []
        try:
            content = await _read(receive, messages)
            if (b"content-type", JSON) not in scope["headers"]:
                raise _UnusualError
            body = body_model.model_validate_json(content)
        except (ValidationError, _UnusualError):
            await self._app(scope, _again(messages, receive), send)
            return
        except HTTPException as error:  # the body is too large
            response = await _error_response(Request(scope, receive), error)
        else:
            await self._respond(route, body, Request(scope, receive), send)
            return
        await response(scope, receive, send)

    async def _respond(self, route: Route, body: BaseModel, request: Request, send: Send) -> None:
        request.scope["route"] = route
        try:
            answer: BaseModel = await route.endpoint(body, request)
        except Exception as error:  # noqa: BLE001 - what no handler knows is raised again
            response = await _error_response(request, error)
            await response(request.scope, request.receive, send)
            return
        content = answer.model_dump_json().encode()
        headers = [(b"content-length", b"%d" % len(content)), (b"content-type", JSON)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


class _UnusualError(Exception):
    """FastAPI is to look at this request."""


async def _error_response(request: Request, error: Exception) -> Response:
    """What the application answers to an error; an unforeseen one goes on."""
    handlers = request.app.exception_handlers
    for kind in type(error).__mro__:
        if kind in handlers:
            response: Response = await handlers[kind](request, error)
            return response
    raise error


async def _read(receive: Receive, messages: list[Message]) -> bytes:
    """The whole body; the messages are kept."""
    while True:
        message = await receive()
        messages.append(message)
        if message["type"] == "http.disconnect":
            raise _UnusualError
        if not message.get("more_body", False):
            return b"".join(each.get("body", b"") for each in messages)


def _again(messages: list[Message], receive: Receive) -> Receive:
    """A `receive` that gives what was received already, then goes on."""
    left = iter(messages)

    async def again() -> Message:
        for message in left:
            return message
        return await receive()

    return again
