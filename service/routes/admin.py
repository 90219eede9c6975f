"""`/admin/*`: what operators do with releases. Needs an admin key, and does not exist where none is set."""

import asyncio
from typing import Any

from fastapi import APIRouter, Depends

from service.authentication import require_admin
from service.routes.dependencies import RuntimeDep
from service.runtime import Runtime
from service.schemas.admin import ListedRelease, LoadedResponse, ReleasesResponse
from service.schemas.errors import ERROR_RESPONSES, ErrorResponse

router = APIRouter(prefix="/admin", dependencies=[Depends(require_admin)], tags=["admin"])
_ERRORS: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorResponse, "description": "No admin keys are set."},
    **{status: ERROR_RESPONSES[status] for status in (500, 503)},
}


@router.get("/releases", responses=_ERRORS)
async def releases(runtime: RuntimeDep) -> ReleasesResponse:
    """Every published version, which one is active, and which one this process has loaded."""
    active, versions = await asyncio.to_thread(runtime.published)
    release = runtime.watch.state.release
    loaded = None if release is None else release.version
    listed = [ListedRelease(version=each, active=each == active, loaded=each == loaded) for each in versions]
    return ReleasesResponse(releases=listed)


@router.post("/reload", responses=_ERRORS)
async def reload(runtime: RuntimeDep) -> LoadedResponse:
    """Look at the pointer now instead of at the next poll, and answer once what it names is loaded or refused."""
    return await _loaded(runtime)


@router.post("/rollback", responses={**_ERRORS, 409: {"model": ErrorResponse, "description": "No earlier release."}})
async def rollback(runtime: RuntimeDep) -> LoadedResponse:
    """Serve the parent of the active release again, in every process; answers once this one has loaded it."""
    await asyncio.to_thread(runtime.roll_back)
    return await _loaded(runtime)


async def _loaded(runtime: Runtime) -> LoadedResponse:
    release, problem = await runtime.watch.look_now()
    return LoadedResponse(
        release=None if release is None else release.version, reasons=[] if problem is None else [problem.reason]
    )
