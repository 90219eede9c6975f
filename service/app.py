"""The HTTP side, put together from `service.routes`. `service.app:app` is for uvicorn and the like.

Importing this module connects to nothing, and neither does `create_app`: connections live as long as the server runs.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from service.decoder import BeamDecoder
from service.edge.layers import OWN_TRACES_ALONE, Edge
from service.errors import add_error_handlers
from service.releases.release import DecoderFactory
from service.routes import admin, events, items, metrics, recommend, status, users
from service.runtime import VERSION, Runtime
from service.serving.direct import DirectMiddleware
from service.serving.drain import Drain
from service.serving.gate import GateMiddleware
from service.serving.shedding import Shedding
from service.settings import Settings, load_settings


def create_app(settings: Settings, *, decoder_factory: DecoderFactory = BeamDecoder) -> FastAPI:
    """Build the service.

    Args:
        settings: see `load_settings`.
        decoder_factory: what decodes; tests pass one that needs no model.

    Raises:
        SettingsError: a file that the settings name cannot be used, or an extra is missing.
    """
    edge = Edge(settings, VERSION)
    drain = Drain(grace_seconds=settings.drain_grace_seconds, limit_seconds=settings.drain_limit_seconds)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with Runtime(settings, decoder_factory, drain, edge.metrics) as app.state.runtime:
            with edge.running(app.state.runtime):
                yield

    app = FastAPI(
        title="MMGRec",
        summary="Generative recommendation: every answer is spelled, token by token, within the catalogue.",
        version=VERSION,
        lifespan=lifespan,
        redirect_slashes=False,
        telemetry=OWN_TRACES_ALONE,
    )
    app.state.settings = settings
    app.state.drain = drain
    app.state.shedding = Shedding(
        drain,
        lambda: app.state.runtime.admission,
        edge.metrics,
        knows=edge.knows,
        max_body_bytes=settings.max_body_bytes,
    )
    app.add_middleware(DirectMiddleware, routes=recommend.router.routes)  # the one added last is the outermost
    app.add_middleware(GateMiddleware, drain=drain)
    edge.surround(app)
    add_error_handlers(app)
    app.include_router(items.similar_router)  # before that of the items, whose path would take it as well
    for group in (recommend, events, users, items, status, metrics, admin):
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
