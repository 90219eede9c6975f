"""`/admin/*`: what operators do with releases. Needs an admin key, and does not exist where none is set."""

from typing import Any, Literal

from fastapi import APIRouter, Depends

from service.edge.authentication import require_admin
from service.releases.release_admin import Published
from service.routes.dependencies import RuntimeDep
from service.schemas.admin import ArmsResponse, ListedRelease, ReleasesResponse, served
from service.schemas.errors import ErrorResponse, error_responses

router = APIRouter(prefix="/admin", dependencies=[Depends(require_admin)], tags=["admin"])
_ERRORS: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorResponse, "description": "No admin keys are set."},
    **error_responses(500, 503),
}
_REFUSED: dict[int | str, dict[str, Any]] = {
    409: {"model": ErrorResponse, "description": "There is nothing to go back to, or it cannot be served."},
    **error_responses(422),
}


@router.get("/releases", responses=_ERRORS)
async def releases(runtime: RuntimeDep) -> ReleasesResponse:
    """Every published version, which ones are active, and what this process has loaded."""
    found = await runtime.releases.published()
    return ReleasesResponse(releases=_listed(found), arms=served(found.arms))


@router.post("/reload", responses=_ERRORS)
async def reload(runtime: RuntimeDep) -> ArmsResponse:
    """Look at the pointers now instead of at the next poll; answers once what they name is loaded or refused."""
    return ArmsResponse(arms=served(await runtime.releases.reload()))


@router.post("/rollback", responses=_ERRORS | _REFUSED)
async def rollback(runtime: RuntimeDep, arm: Literal["main", "canary"] = "main") -> ArmsResponse:
    """Serve the parent of the main release again, or withdraw the canary, in every process; answers like reload."""
    return ArmsResponse(arms=served(await runtime.releases.roll_back(arm)))


def _listed(found: Published) -> list[ListedRelease]:
    in_memory = {name: arm.release.version for name, arm in found.arms.items() if arm.release is not None}
    return [
        ListedRelease(
            version=version,
            active_in=[name for name, pointer in found.pointers.items() if pointer.version == version],
            loaded_in=[name for name, loaded in in_memory.items() if loaded == version],
        )
        for version in found.versions
    ]
