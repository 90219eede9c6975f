"""Bodies of `POST /events`."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from service.contract.event_stream import StoredEvent
from service.contract.history_scripts import FIRST_TIME
from service.schemas.fields import MAX_EVENTS, Id, RequestId
from service.users.events import now_ms

MOST_AHEAD_MS = 24 * 60 * 60 * 1000
"""A clock may be ahead by a day; later times would stay the newest of their user for as long as they are wrong."""


class Event(BaseModel):
    """One interaction of a user with an item. The item need not be known: a later release may know it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    user_id: Id = Field(description="Who. An unknown user becomes a known one.")
    item_id: Id = Field(description="With what.")
    event: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = Field(
        default=None, description='What kind, such as "view" or "buy"; for training.'
    )
    weight: float | None = Field(
        default=None, allow_inf_nan=False, description="How much it counts; for training. Any finite number."
    )
    timestamp: int | None = Field(
        default=None,
        ge=FIRST_TIME,
        description="When, in milliseconds since 1970 UTC, at most a day ahead; without one, now. It decides the place "
        "in the history.",
    )
    event_id: RequestId | None = Field(
        default=None,
        description="Makes a repetition of this event of this user known, for as long as the service remembers ids "
        "(MMGREC_EVENT_ID_TTL_SECONDS): it is answered as a duplicate and changes nothing.",
    )

    @field_validator("timestamp")
    @classmethod
    def _not_in_the_future(cls, timestamp: int | None) -> int | None:
        if timestamp is not None and timestamp > (latest := now_ms() + MOST_AHEAD_MS):
            raise ValueError(f"must not be more than a day ahead, at most {latest} now, in milliseconds since 1970 UTC")
        return timestamp

    def stored(self, arrived_ms: int) -> StoredEvent:
        """The event as the streams hold it; `arrived_ms` is its time where it brings none."""
        time_ms = arrived_ms if self.timestamp is None else self.timestamp
        return StoredEvent(self.user_id, self.item_id, time_ms, self.event, self.weight, self.event_id)


class EventsRequest(BaseModel):
    """Interactions, in the order in which they happened; one is a list of one."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {"events": [{"user_id": "u-1042", "item_id": "item-17"}]},
                {
                    "events": [
                        {
                            "user_id": "u-1042",
                            "item_id": "item-42",
                            "event": "buy",
                            "weight": 3.0,
                            "timestamp": 1763740800000,
                            "event_id": "order-2291.1",
                        },
                        {"user_id": "u-7", "item_id": "item-3", "event": "view", "event_id": "v-88210"},
                    ]
                },
            ]
        },
    )

    events: list[Event] = Field(min_length=1, max_length=MAX_EVENTS)


class EventsResponse(BaseModel):
    """What became of the events; together `accepted` and `duplicates` are all of them."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"accepted": 2, "duplicates": 0, "not_applied": 0, "took_ms": 0.9}]}
    )

    accepted: int = Field(description="Stored now: the next recommendation of these users knows them.")
    duplicates: int = Field(description="Left out, because their `event_id` was known for their user.")
    not_applied: int = Field(
        description="Accepted for training, but not in the user's history: something else stands in its place in Redis."
    )
    took_ms: float
