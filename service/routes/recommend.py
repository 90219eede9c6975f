"""`POST /recommend` and `POST /recommend/batch`."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from fastapi import APIRouter, Request

from service.request_context import RequestContext, context_of
from service.routes.dependencies import runtime_of
from service.runtime import Runtime
from service.schemas.errors import ERROR_RESPONSES
from service.schemas.recommend import BatchRequest, BatchResponse, RecommendRequest, RecommendResponse
from service.serving.disconnect import unless_gone
from service.serving.prepare import RequestLimitError
from service.serving.recommender import Answer

router = APIRouter()  # its usual requests come by `service.serving.direct`


@router.post("/recommend", responses=ERROR_RESPONSES)
async def recommend(body: RecommendRequest, request: Request) -> RecommendResponse:
    """Generate the items that a user will like, best first; none of them seen, excluded or outside the catalogue."""
    context = context_of(request.scope)
    if body.request_id is not None:
        context.request_id = body.request_id
    if body.user_id is not None:
        context.user_ids.append(body.user_id)
    return await answer(body, request, runtime_of(request), context)


async def answer(
    body: RecommendRequest, request: Request, runtime: Runtime, context: RequestContext
) -> RecommendResponse:
    """Answer one request for as long as its caller stays, and note what it took."""
    release = runtime.watch.snapshot(body.user_id, body.history)
    context.release = release.version
    work = runtime.recommender.recommend(body, release, request_id=context.request_id, started=context.started)
    found = await unless_gone(request.scope, request.receive, work)
    _note(found, context)
    return found.response


@router.post("/recommend/batch", responses=ERROR_RESPONSES)
async def recommend_batch(body: BatchRequest, request: Request) -> BatchResponse:
    """Answer several requests in one call: each as `POST /recommend` would, all from the decoder's shared runs."""
    context, runtime = context_of(request.scope), runtime_of(request)
    releases = [runtime.watch.snapshot(each.user_id, each.history) for each in body.requests]
    if len({release.version for release in releases}) == 1:
        context.release = releases[0].version
    context.user_ids.extend(each.user_id for each in body.requests if each.user_id is not None)
    for index, (each, release) in enumerate(zip(body.requests, releases, strict=True)):
        try:
            runtime.recommender.check(each, release)
        except RequestLimitError as error:
            raise RequestLimitError(f"requests.{index}.{error}") from None
    work = [
        runtime.recommender.recommend(
            each,
            release,
            request_id=each.request_id or f"{context.request_id}.{index}",
            started=context.started,
        )
        for index, (each, release) in enumerate(zip(body.requests, releases, strict=True))
    ]
    answers = await unless_gone(request.scope, request.receive, _all(work))
    for found in answers:
        _note(found, context)
    return BatchResponse(
        request_id=context.request_id,
        answers=[found.response for found in answers],
        took_ms=round((time.monotonic() - context.started) * 1000, 3),
    )


async def _all(work: list[Coroutine[Any, Any, Answer]]) -> list[Answer]:
    """Do it side by side; when one fails the others are stopped, and it fails as that one did."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _note(found: Answer, context: RequestContext) -> None:
    context.answers.append(found.facts)
    context.stages.extend(found.stages)
    answered = found.answered
    if answered is not None:
        context.queue_seconds = max(context.queue_seconds or 0.0, answered.queue_seconds)
        context.inference_seconds = max(context.inference_seconds or 0.0, answered.inference_seconds)
        context.batch_size = max(context.batch_size or 0, answered.batch_size)
