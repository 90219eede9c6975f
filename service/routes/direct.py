"""A route whose usual request goes straight from bytes to model to bytes.

FastAPI parses JSON into Python objects, solves dependencies and validates the answer that we have just built. Here
pydantic reads the bytes and writes the bytes. Whatever it will not read takes FastAPI's own path, so errors, odd
encodings and the OpenAPI document are FastAPI's.
"""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

JSON = "application/json"
Endpoint = Callable[[BaseModel, Request], Awaitable[BaseModel]]


class DirectRoute(APIRoute):
    """For endpoints of exactly (body: some model, request: Request) that return a model; the status is 200."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See `APIRoute`."""
        usual, endpoint = super().get_route_handler(), self.endpoint
        body_model: type[BaseModel] = endpoint.__annotations__["body"]

        async def direct(request: Request) -> Response:
            if request.headers.get("content-type") != JSON:
                return await usual(request)
            try:
                body = body_model.model_validate_json(await request.body())
            except ValidationError:
                return await usual(request)  # the body is kept, and read there once more
            answer = await endpoint(body, request)
            return Response(answer.model_dump_json().encode(), media_type=JSON)

        return direct
