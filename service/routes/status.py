"""What the service says of itself: `GET /info`, health, and health as the Open Inference Protocol asks for it."""

import math

from fastapi import APIRouter, HTTPException, Request, Response

from service.routes.dependencies import RuntimeDep
from service.runtime import VERSION, Runtime
from service.schemas.errors import error_responses
from service.schemas.status import (
    InfoResponse,
    LiveResponse,
    ModelReady,
    ReadyResponse,
    ServerLive,
    ServerMetadata,
    ServerReady,
)

router = APIRouter()

NOT_READY = "No request is answered: see `reasons` and Retry-After."


@router.get("/info")
async def info(runtime: RuntimeDep) -> InfoResponse:
    """Version, release, the provider that really runs the decoder, and the limits of a request."""
    return runtime.info()


@router.get("/health/live")
@router.get("/livez", include_in_schema=False)
async def live() -> LiveResponse:
    """The process answers. Never asks Redis or the device: restarting the service would cure neither."""
    return LiveResponse()


@router.get("/health/ready", responses={503: {"model": ReadyResponse, "description": NOT_READY}})
@router.get("/readyz", include_in_schema=False)
@router.get("/health", include_in_schema=False)
async def ready(response: Response, request: Request, runtime: RuntimeDep) -> ReadyResponse:
    """Whether `/recommend` answers, and what is wrong, if anything. `/readyz` and `/health` answer the same."""
    found = await runtime.ready()
    _tell(response, request, ready=found.ready)
    return found


@router.get("/v2")
async def server_metadata() -> ServerMetadata:
    """Open Inference Protocol: which server this is; the one model has the namespace as its name."""
    return ServerMetadata(name="mmgrec", version=VERSION)


@router.get("/v2/health/live")
async def server_live() -> ServerLive:
    """Open Inference Protocol: as `/health/live`."""
    return ServerLive()


@router.get("/v2/health/ready", responses={503: {"model": ServerReady, "description": NOT_READY}})
async def server_ready(response: Response, request: Request, runtime: RuntimeDep) -> ServerReady:
    """Open Inference Protocol: as `/health/ready`."""
    found = await runtime.ready()
    _tell(response, request, ready=found.ready)
    return ServerReady(ready=found.ready)


MODEL_RESPONSES = {503: {"model": ModelReady, "description": NOT_READY}, **error_responses(404, 422)}


@router.get("/v2/models/{name}/ready", responses=MODEL_RESPONSES)
async def model_ready(name: str, response: Response, request: Request, runtime: RuntimeDep) -> ModelReady:
    """Open Inference Protocol: whether the release of a namespace answers."""
    return await _model_ready(name, None, response, request, runtime)


@router.get("/v2/models/{name}/versions/{version}/ready", responses=MODEL_RESPONSES)
async def model_version_ready(
    name: str, version: str, response: Response, request: Request, runtime: RuntimeDep
) -> ModelReady:
    """Open Inference Protocol: whether this very release answers."""
    return await _model_ready(name, version, response, request, runtime)


async def _model_ready(
    name: str, version: str | None, response: Response, request: Request, runtime: Runtime
) -> ModelReady:
    found = await runtime.ready()
    if name != request.app.state.settings.namespace or version not in (None, found.release):
        raise HTTPException(404)
    _tell(response, request, ready=found.ready)
    return ModelReady(name=name, ready=found.ready)


def _tell(response: Response, request: Request, *, ready: bool) -> None:
    if not ready:
        response.status_code = 503
        response.headers["Retry-After"] = str(math.ceil(request.app.state.settings.release_poll_seconds))
