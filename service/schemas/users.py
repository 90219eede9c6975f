"""Bodies of `/users/{user_id}/history`."""

from pydantic import BaseModel, ConfigDict, Field

from service.schemas.fields import MAX_HISTORY, Id


class HistoryRequest(BaseModel):
    """What to put in the place of a user's history."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"history": ["item-3", "item-17"]}]}
    )

    history: list[Id] = Field(
        max_length=MAX_HISTORY,
        description="Item ids, oldest first, newest last. The newest are kept as history, all of them count as seen.",
    )


class HistoryResponse(BaseModel):
    """What is stored of a user; an unknown one has nothing."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"user_id": "u-1042", "history": ["item-3", "item-17"], "history_length": 2, "seen_count": 2}]
        }
    )

    user_id: str
    history: list[str] = Field(description="Item ids, oldest first, newest last.")
    history_length: int
    seen_count: int = Field(description="Items that `exclude_seen` leaves out.")
