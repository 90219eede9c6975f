"""The HTTP side, put together from `service.routes`. `service.app:app` is for uvicorn and the like.

Importing this module connects to nothing, and neither does `create_app`: connections live as long as the server runs.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from service.decoder import BeamDecoder
from service.errors import add_error_handlers
from service.middleware import RequestContextMiddleware
from service.release import DecoderFactory
from service.routes import events, recommend, status, users
from service.runtime import VERSION, Runtime
from service.settings import Settings, load_settings


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
    for group in (recommend, events, users, status):
        app.include_router(group.router)
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
