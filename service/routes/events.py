"""`POST /events`."""

import time

from fastapi import APIRouter, Request

from service.request_context import context_of
from service.routes.dependencies import RuntimeDep
from service.schemas.errors import ERROR_RESPONSES
from service.schemas.events import EventsRequest, EventsResponse
from service.users.events import now_ms

router = APIRouter()


@router.post("/events", responses=ERROR_RESPONSES)
async def events(body: EventsRequest, request: Request, runtime: RuntimeDep) -> EventsResponse:
    """Store what users did: the next recommendation knows it, and so does the next training.

    Every event is stored at least once. With an `event_id`, a call that ended without an answer can be repeated.
    """
    context_of(request.scope).user_ids.extend(dict.fromkeys(event.user_id for event in body.events))
    started, arrived_ms = time.perf_counter(), now_ms()
    recorded = await runtime.events.record([event.stored(arrived_ms) for event in body.events])
    return EventsResponse(**recorded._asdict(), took_ms=round((time.perf_counter() - started) * 1000, 3))
