"""What the service says of itself: `GET /info` and health."""

import math

from fastapi import APIRouter, Request, Response

from service.routes.dependencies import RuntimeDep
from service.schemas.status import InfoResponse, LiveResponse, ReadyResponse

router = APIRouter()


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
