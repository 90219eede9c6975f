"""What the service answers. Fields that a newer service adds are ignored, so that it can be updated first."""

from pydantic import BaseModel, ConfigDict


class _Response(BaseModel):
    model_config = ConfigDict(frozen=True)


class Explanation(_Response):
    """Why an item is returned.

    Attributes:
        rec_id: its codes, coarse to fine, and the popularity token.
        shared_levels: levels from the first on in which it equals the nearest item of the history.
        shared_with: items of the history that share so many, newest first.
        level_log_probs: log-probability of each token given those before it; None in a fallback.
    """

    rec_id: list[int]
    shared_levels: int
    shared_with: list[str]
    level_log_probs: list[float] | None


class RecommendedItem(_Response):
    """One item of an answer.

    Attributes:
        rank: place in the ranking, 1-based; goes on across pages.
        score: what the answer is ordered by; None in a fallback.
        log_prob: log-probability of the item's Rec-ID; None in a fallback.
        title, categories: None without `include_metadata`.
        explanation: None without `explain`.
    """

    item_id: str
    rank: int
    score: float | None
    log_prob: float | None
    title: str | None = None
    categories: list[str] | None = None
    explanation: Explanation | None = None


class RecommendResponse(_Response):
    """An answer, and where it comes from.

    Attributes:
        release: version of the one release that the whole answer comes from.
        items: best first.
        source: "model" or "fallback:popular".
        fallback_reason: why the popular items were returned, else None.
        degraded: what is stored of the user could not be read, or is the last known.
        returned: number of items.
        exhausted: fewer than `n`, because no other item may be returned.
        unknown_history_items, unknown_candidates: ids that the release does not know; skipped.
        history_length: distinct known items that the model looked at.
        took_ms: milliseconds within the service.
    """

    request_id: str
    release: str
    items: list[RecommendedItem]
    source: str
    fallback_reason: str | None
    degraded: bool
    returned: int
    exhausted: bool
    unknown_history_items: int
    unknown_candidates: int
    history_length: int
    took_ms: float


class BatchResponse(_Response):
    """The answers, in the order of the requests."""

    request_id: str
    answers: list[RecommendResponse]
    took_ms: float


class ItemResponse(_Response):
    """What the release knows of an item.

    Attributes:
        rec_id: codes, coarse to fine, and the popularity token.
        train_count: interactions in training.
    """

    item_id: str
    title: str | None
    categories: list[str]
    rec_id: list[int]
    train_count: int
    release: str


class EventsResponse(_Response):
    """What became of the events; together `accepted` and `duplicates` are all of them.

    Attributes:
        not_applied: accepted for training, but not in the user's history.
    """

    accepted: int
    duplicates: int
    not_applied: int
    took_ms: float


class HistoryResponse(_Response):
    """What is stored of a user; an unknown one has nothing.

    Attributes:
        history: item ids, oldest first.
        seen_count: items that `exclude_seen` leaves out.
    """

    user_id: str
    history: list[str]
    history_length: int
    seen_count: int


class Limits(_Response):
    """What a request may ask for."""

    max_n: int
    max_history: int
    max_exclude_items: int
    max_candidates: int
    max_categories: int
    max_events: int
    max_id_length: int
    max_batch_requests: int
    max_deadline_ms: int
    max_body_bytes: int


class RedisInfo(_Response):
    """Which Redis the service uses."""

    kind: str
    namespace: str


class ReleaseInfo(_Response):
    """The release in memory.

    Attributes:
        beam_widths: the first is the default.
        max_history: items of a history that the model looks at.
    """

    version: str
    created: str
    dataset: str
    num_items: int
    beam_widths: list[int]
    max_history: int
    metrics: dict[str, float]


class InfoResponse(_Response):
    """What a process of the service is; `release` and `provider` are None until a release is loaded."""

    service: str
    version: str
    release: ReleaseInfo | None
    device: str
    provider: str | None
    limits: Limits
    redis: RedisInfo


class ReadyResponse(_Response):
    """Whether requests are answered, and what is wrong.

    Attributes:
        degraded: ready, but not all is well.
        reasons: such as "no_release", "redis_unreachable" or "draining".
        message: what to do about it.
    """

    ready: bool
    degraded: bool
    reasons: list[str]
    message: str | None
    release: str | None


class ErrorDetail(_Response):
    """What went wrong and what to do."""

    type: str
    code: str
    message: str
    retryable: bool
    request_id: str


class ErrorResponse(_Response):
    """The one shape of every error of the service."""

    error: ErrorDetail
