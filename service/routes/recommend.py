"""`POST /recommend`."""

from fastapi import APIRouter, Request

from service.request_context import context_of
from service.routes.dependencies import RuntimeDep
from service.schemas.errors import ERROR_RESPONSES
from service.schemas.recommend import RecommendRequest, RecommendResponse

router = APIRouter()


@router.post("/recommend", responses=ERROR_RESPONSES)
async def recommend(body: RecommendRequest, request: Request, runtime: RuntimeDep) -> RecommendResponse:
    """Generate the items that a user will like, best first; none of them seen, excluded or outside the catalogue."""
    context = context_of(request.scope)
    if body.request_id is not None:
        context.request_id = body.request_id
    if body.user_id is not None:
        context.user_ids.append(body.user_id)
    release = runtime.watch.snapshot()
    context.release = release.version
    return await runtime.recommender.recommend(body, release, context)
