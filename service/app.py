"""The HTTP side: routes, and nothing that a route does not need. `service.app:app` is for uvicorn and the like.

Importing this module connects to nothing, and neither does `create_app`: connections live as long as the server runs.
"""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request, Response

from service.decoder import BeamDecoder
from service.errors import add_error_handlers
from service.middleware import RequestContextMiddleware
from service.release import DecoderFactory
from service.request_context import context_of
from service.runtime import VERSION, Runtime
from service.schemas import (
    ERROR_RESPONSES,
    InfoResponse,
    LiveResponse,
    ReadyResponse,
    RecommendRequest,
    RecommendResponse,
)
from service.settings import Settings, load_settings

router = APIRouter()


def _runtime(request: Request) -> Runtime:
    runtime = request.app.state.runtime
    assert isinstance(runtime, Runtime)
    return runtime


RuntimeDep = Annotated[Runtime, Depends(_runtime)]


@router.post("/recommend", responses=ERROR_RESPONSES)
async def recommend(body: RecommendRequest, request: Request, runtime: RuntimeDep) -> RecommendResponse:
    """Generate the items that a user will like, best first; none of them seen, excluded or outside the catalogue."""
    context = context_of(request.scope)
    if body.request_id is not None:
        context.request_id = body.request_id
    release = runtime.watch.snapshot()
    context.release = release.version
    return await runtime.recommender.recommend(body, release, request_id=context.request_id)


@router.get("/info")
async def info(runtime: RuntimeDep) -> InfoResponse:
    """Version, release, the provider that really runs the decoder, and the limits of a request."""
    return runtime.info()


@router.get("/health/live")
async def live() -> LiveResponse:
    """The process answers. Never asks Redis or the device: restarting the service would cure neither."""
    return LiveResponse()


@router.get("/health/ready", responses={503: {"model": ReadyResponse, "description": "No release is loaded."}})
async def ready(response: Response, request: Request, runtime: RuntimeDep) -> ReadyResponse:
    """Whether `/recommend` answers, and what is wrong, if anything."""
    found = await runtime.ready()
    if not found.ready:
        response.status_code = 503
        response.headers["Retry-After"] = str(math.ceil(request.app.state.settings.release_poll_seconds))
    return found


def create_app(settings: Settings, *, decoder_factory: DecoderFactory = BeamDecoder) -> FastAPI:
    """Build the service.

    Args:
        settings: see `load_settings`.
        decoder_factory: what decodes; tests pass one that needs no model.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with Runtime(settings, decoder_factory) as app.state.runtime:
            yield

    app = FastAPI(
        title="MMGRec",
        summary="Generative recommendation: every answer is spelled, token by token, within the catalogue.",
        version=VERSION,
        lifespan=lifespan,
    )
    app.state.settings = settings
    app.add_middleware(RequestContextMiddleware, max_body_bytes=settings.max_body_bytes)
    add_error_handlers(app)
    app.include_router(router)
    return app


def __getattr__(name: str) -> FastAPI:
    """Make `app` on first use, so that importing this module reads no settings.

    Raises:
        SettingsError: the environment is wrong.
    """
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = create_app(load_settings())
    globals()["app"] = made
    return made
