"""What is asked of the service. Types are checked here; limits are the service's own, it names them when it refuses.

Only fields that were set are sent, so the defaults are the service's as well.
"""

from pydantic import BaseModel, ConfigDict, Field


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class CategoryConditions(_Request):
    """Which categories an item must or may not have; the three hold together."""

    any: list[str] = []
    all: list[str] = []
    none: list[str] = []


class RecommendRequest(_Request):
    """What to recommend, and to whom: a `user_id` whose history is stored, a `history`, or both.

    Attributes:
        user_id: whose stored history to use; an unknown user is no error.
        history: item ids, oldest first; replaces the stored history.
        n: how many items; `offset + n` is at most `limits.max_n` of `info` and the beam width.
        offset: how many items of the same ranking to skip.
        exclude_seen: leave out what the user has seen.
        exclude_items: item ids to leave out as well.
        categories: only items whose categories fit.
        candidates: only these item ids, ranked.
        beam_width: one of `beam_widths` of `info`.
        include_metadata: return titles and categories.
        explain: say why each item is returned.
        deadline_ms: milliseconds within which the service answers, else a `DeadlineExceededError`; keep the client's
            `timeout_seconds` above it.
        request_id: returned as it is.
    """

    user_id: str | None = None
    history: list[str] | None = None
    n: int = 10
    offset: int = 0
    exclude_seen: bool = True
    exclude_items: list[str] = []
    categories: CategoryConditions | None = None
    candidates: list[str] | None = None
    beam_width: int | None = None
    include_metadata: bool = True
    explain: bool = False
    deadline_ms: int | None = None
    request_id: str | None = None


class SimilarQuery(_Request):
    """How to look for items that go with one; fields mean what they mean in `RecommendRequest`.

    Attributes:
        categories: an item needs at least one of them.
    """

    n: int = 10
    offset: int = 0
    categories: list[str] = []
    beam_width: int | None = None
    include_metadata: bool = True
    explain: bool = False
    deadline_ms: int | None = None


class Event(_Request):
    """One interaction of a user with an item.

    Attributes:
        user_id: who.
        item_id: with what.
        event: what kind, such as "view" or "buy".
        weight: how much it counts in training, any finite number.
        timestamp: when, in milliseconds since 1970 UTC; without one, when the service gets it.
        event_id: makes a repetition harmless; a call is repeated by this client only if all of its events have one.
    """

    user_id: str
    item_id: str
    event: str | None = None
    weight: float | None = Field(default=None, allow_inf_nan=False)  # JSON has no NaN, it would be sent as null
    timestamp: int | None = None
    event_id: str | None = None


class BatchBody(_Request):
    """Body of `POST /recommend/batch`."""

    requests: list[RecommendRequest]


class EventsBody(_Request):
    """Body of `POST /events`."""

    events: list[Event]


class HistoryBody(_Request):
    """Body of `PUT /users/{user_id}/history`."""

    history: list[str]
