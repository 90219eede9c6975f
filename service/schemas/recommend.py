"""Bodies of `POST /recommend` and `POST /recommend/batch`."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from service.schemas.fields import (
    MAX_BATCH_REQUESTS,
    MAX_CANDIDATES,
    MAX_CATEGORIES,
    MAX_DEADLINE_MS,
    MAX_EXCLUDED,
    MAX_HISTORY,
    MIN_DEADLINE_MS,
    Category,
    Id,
    RequestId,
)

Source = Literal["model", "fallback:popular"]
FallbackReason = Literal["unknown_user", "empty_history", "no_known_items", "history_unavailable"]


class CategoryConditions(BaseModel):
    """Which categories an item must or may not have; the three hold together."""

    model_config = ConfigDict(extra="forbid", strict=True)

    any: list[Category] = Field(default=[], max_length=MAX_CATEGORIES, description="At least one of these.")
    all: list[Category] = Field(default=[], max_length=MAX_CATEGORIES, description="Every one of these.")
    none: list[Category] = Field(default=[], max_length=MAX_CATEGORIES, description="Not one of these.")


class RecommendRequest(BaseModel):
    """What to recommend, and to whom: a `user_id` whose history is stored, a `history`, or both."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "anyOf": [
                {"required": ["user_id"], "properties": {"user_id": {"type": "string"}}},
                {"required": ["history"], "properties": {"history": {"type": "array"}}},
            ],
            "examples": [
                {"user_id": "u-1042", "n": 10},
                {"user_id": "u-1042", "n": 5, "offset": 5, "explain": True, "deadline_ms": 500},
                {"history": ["item-3", "item-17"], "n": 5, "exclude_items": ["item-8"], "beam_width": 50},
                {"user_id": "u-1042", "categories": {"any": ["kitchen", "garden"], "none": ["outlet"]}},
            ],
        },
    )

    user_id: Id | None = Field(default=None, description="Whose stored history to use. An unknown user is no error.")
    history: list[Id] | None = Field(
        default=None,
        max_length=MAX_HISTORY,
        description="Item ids, oldest first, newest last. Replaces the stored history; an empty list is as none.",
    )
    n: int = Field(
        default=10, ge=1, description="How many items; at most `limits.max_n` of GET /info and `beam_width`."
    )
    offset: int = Field(
        default=0,
        ge=0,
        description="How many items of the same ranking to skip; `offset + n` is limited as `n` is.",
    )
    exclude_seen: bool = Field(
        default=True, description="Leave out what the user has seen: stored items and those in `history`."
    )
    exclude_items: list[Id] = Field(
        default=[], max_length=MAX_EXCLUDED, description="Item ids to leave out as well; unknown ones do no harm."
    )
    categories: CategoryConditions | None = Field(
        default=None,
        description="Only items whose categories fit, however few there are; a list is short for `any`. "
        "A category that no item has is no error.",
    )
    candidates: list[Id] | None = Field(
        default=None,
        max_length=MAX_CANDIDATES,
        description="Only these item ids, ranked; unknown ones are skipped and counted, an empty list allows nothing.",
    )
    beam_width: int | None = Field(
        default=None, ge=1, description="One of `beam_widths` of GET /info: wider finds better items and takes longer."
    )
    include_metadata: bool = Field(default=True, description="Return titles and categories.")
    explain: bool = Field(
        default=False, description="Say why each item is returned; takes a second run of the decoder."
    )
    deadline_ms: int | None = Field(
        default=None,
        ge=MIN_DEADLINE_MS,
        le=MAX_DEADLINE_MS,
        description="Time limit from the moment the request came; without an answer by then it gets a 504, "
        "or a 429 at once where that can be foreseen. Null for the service's own.",
    )
    request_id: RequestId | None = Field(default=None, description="Returned as it is; wins over X-Request-ID.")

    @field_validator("categories", mode="before")
    @classmethod
    def _list_means_any(cls, categories: Any) -> Any:
        return {"any": categories} if isinstance(categories, list) else categories

    @model_validator(mode="after")
    def _names_somebody(self) -> Self:
        if self.user_id is None and self.history is None:
            raise ValueError("give user_id, history or both; for the popular items give an empty history")
        return self


def _leave_out_limit(schema: dict[str, Any]) -> None:
    """What breaks a schema gets a 422; a list that is too long gets a 413, as a body that is too large does."""
    del schema["maxItems"]


class BatchRequest(BaseModel):
    """Several requests in one call; they share runs of the decoder."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"requests": [{"user_id": "u-1042"}, {"history": ["item-3"], "n": 5}]}]},
    )

    requests: list[RecommendRequest] = Field(
        min_length=1,
        max_length=MAX_BATCH_REQUESTS,
        json_schema_extra=_leave_out_limit,
        description=f"At most {MAX_BATCH_REQUESTS}. Each is answered as by `POST /recommend`; "
        "one that is wrong fails the whole call.",
    )


class Explanation(BaseModel):
    """Why an item is returned: what its Rec-ID shares with the history, and how likely each of its tokens was."""

    rec_id: list[int]
    shared_levels: int = Field(
        description="Levels from the first on in which it equals the nearest item of the history."
    )
    shared_with: list[str] = Field(description="Items of the history that share so many, newest first, three at most.")
    level_log_probs: list[float] | None = Field(
        description="Log-probability of each token given those before it; their sum is `log_prob`. "
        "Null in a fallback, and for a release whose decoder does not tell."
    )


@dataclass(slots=True)
class RecommendedItem:
    """One item of an answer."""  # no model: ten or two hundred of them are made for every answer

    item_id: str
    rank: Annotated[int, Field(description="Place in the ranking, 1-based; goes on across pages.")]
    score: Annotated[float | None, Field(description="What the answer is ordered by; null in a fallback.")]
    log_prob: Annotated[float | None, Field(description="Log-probability of the item's Rec-ID; null in a fallback.")]
    title: str | None = None
    categories: list[str] | None = None
    explanation: Explanation | None = None


class RecommendResponse(BaseModel):
    """An answer, and where it comes from."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "request_id": "3f1c9a52d7e84b06",
                    "release": "20261121-1",
                    "items": [
                        {
                            "item_id": "item-42",
                            "rank": 1,
                            "score": -1.25,
                            "log_prob": -2.5,
                            "title": "Blue kettle",
                            "categories": ["kitchen"],
                            "explanation": {
                                "rec_id": [17, 203, 0],
                                "shared_levels": 2,
                                "shared_with": ["item-3"],
                                "level_log_probs": [-1.0, -0.75, -0.75],
                            },
                        }
                    ],
                    "source": "model",
                    "fallback_reason": None,
                    "degraded": False,
                    "returned": 1,
                    "exhausted": False,
                    "unknown_history_items": 0,
                    "unknown_candidates": 0,
                    "history_length": 2,
                    "took_ms": 3.1,
                }
            ]
        }
    )

    request_id: str
    release: str = Field(description="Version of the one release that the whole answer comes from.")
    items: list[RecommendedItem]
    source: Source
    fallback_reason: FallbackReason | None = Field(description="Why the popular items were returned, else null.")
    degraded: bool = Field(
        description="Redis could not be read: what is stored of the user is missing, or is the last known."
    )
    returned: int
    exhausted: bool = Field(description="Fewer than `n`, because no other item may be returned.")
    unknown_history_items: int = Field(description="Items of the history that the release does not know; skipped.")
    unknown_candidates: int = Field(description="Candidates that the release does not know; skipped.")
    history_length: int = Field(description="Distinct known items that the model looked at, the most recent ones.")
    took_ms: float


class BatchResponse(BaseModel):
    """The answers, in the order of the requests."""

    request_id: str
    answers: list[RecommendResponse] = Field(description="`request_id` of an answer is its request's, else unique.")
    took_ms: float
