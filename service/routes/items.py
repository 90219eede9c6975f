"""`GET /items/{item_id}` and `GET /items/{item_id}/similar`."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

import service.routes.id_convertor  # noqa: F401 - knows `{item_id:id}`
from service.request_context import context_of
from service.routes.dependencies import RuntimeDep
from service.routes.recommend import answer
from service.schemas.errors import error_responses
from service.schemas.items import ItemIdInPath, ItemResponse, SimilarQuery
from service.schemas.recommend import CategoryConditions, RecommendRequest, RecommendResponse
from service.serving.resolve import describe_item, row_of_item

SIMILAR = "/similar"


class _SimilarRoute(APIRoute):
    """Only where the path ends so as it was sent: /items/x%2Fsimilar is about the item "x/similar"."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """See `APIRoute`."""
        sent: bytes = scope.get("raw_path") or scope["path"].encode()
        return super().matches(scope) if sent.endswith(SIMILAR.encode()) else (Match.NONE, {})


router = APIRouter()
similar_router = APIRouter(route_class=_SimilarRoute)


@similar_router.get("/items/{item_id:id}" + SIMILAR, responses=error_responses(404, 422, 429, 500, 503, 504))
async def similar(
    item_id: ItemIdInPath, query: Annotated[SimilarQuery, Query()], request: Request, runtime: RuntimeDep
) -> RecommendResponse:
    """Generate the items that go with one: what the model recommends to somebody who had this item alone."""
    row_of_item(item_id, runtime.watch.snapshot())
    asked = RecommendRequest(
        history=[item_id],
        n=query.n,
        offset=query.offset,
        categories=CategoryConditions(any=query.categories),
        beam_width=query.beam_width,
        include_metadata=query.include_metadata,
        explain=query.explain,
        deadline_ms=query.deadline_ms,
    )
    return await answer(asked, request, runtime, context_of(request.scope))


@router.get("/items/{item_id:id}", responses=error_responses(404, 422, 500, 503))
async def item(item_id: ItemIdInPath, request: Request, runtime: RuntimeDep) -> ItemResponse:
    """What the release knows of an item: metadata, Rec-ID, and how often it was interacted with in training."""
    release = runtime.watch.snapshot()
    context_of(request.scope).release = release.version
    return describe_item(row_of_item(item_id, release), release)
