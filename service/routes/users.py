"""`GET`, `PUT` and `DELETE /users/{user_id}/history`."""

from typing import Annotated
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Depends, Path, Request
from fastapi.exceptions import RequestValidationError

import service.routes.id_convertor  # noqa: F401 - knows `{user_id:id}`
from service.routes.dependencies import RuntimeDep
from service.schemas.errors import ERROR_RESPONSES
from service.schemas.fields import Id
from service.schemas.users import HistoryRequest, HistoryResponse
from service.users.user_items import UserItems

router = APIRouter(prefix="/users/{user_id:id}/history", responses=ERROR_RESPONSES)


def _user_id(
    request: Request,
    user_id: Annotated[
        Id, Path(description="Percent-encoded; it may hold anything, slashes too.", examples=["u-1042"])
    ],
) -> str:
    """The id of the path; bytes that are no UTF-8 would otherwise become replacement characters, those of another."""
    try:
        unquote_to_bytes(request.scope.get("raw_path", b"")).decode()
    except UnicodeDecodeError:
        problem = {"type": "value_error", "loc": ("path", "user_id"), "msg": "must be UTF-8, percent-encoded"}
        raise RequestValidationError([{**problem, "input": user_id}]) from None
    return user_id


UserId = Annotated[str, Depends(_user_id)]


@router.get("")
async def read_history(user_id: UserId, runtime: RuntimeDep) -> HistoryResponse:
    """What is stored of a user. An unknown user is no error and has an empty history."""
    return _described(user_id, await runtime.edits.stored(user_id))


@router.put("")
async def replace_history(user_id: UserId, body: HistoryRequest, runtime: RuntimeDep) -> HistoryResponse:
    """Put a history in the place of the stored one, and of the seen items. An empty one leaves the user unknown."""
    return _described(user_id, await runtime.edits.replace(user_id, body.history))


@router.delete("", status_code=204)
async def forget_history(user_id: UserId, runtime: RuntimeDep) -> None:
    """Forget a user: history and seen items. A user that is not known is no error.

    What remains: the user's past events until the next `retrain`, which removes them from its archive and trains
    without them, the ids of events until they end (MMGREC_EVENT_ID_TTL_SECONDS), and what other replicas remember in
    case Redis goes away.
    """
    await runtime.edits.forget(user_id)


def _described(user_id: str, items: UserItems) -> HistoryResponse:
    return HistoryResponse(
        user_id=user_id,
        history=list(items.history),
        history_length=len(items.history),
        seen_count=len(items.seen),
    )
