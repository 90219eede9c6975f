"""Bodies that tell of the service itself."""

from typing import Literal

from pydantic import BaseModel, Field

from service.contract.item_table import MAX_ID_LENGTH
from service.schemas.fields import MAX_CANDIDATES, MAX_CATEGORIES, MAX_EVENTS, MAX_EXCLUDED, MAX_HISTORY


class Limits(BaseModel):
    """What a request may ask for."""

    max_n: int
    max_history: int = MAX_HISTORY
    max_exclude_items: int = MAX_EXCLUDED
    max_candidates: int = MAX_CANDIDATES
    max_categories: int = MAX_CATEGORIES
    max_events: int = MAX_EVENTS
    max_id_length: int = MAX_ID_LENGTH
    max_body_bytes: int


class RedisInfo(BaseModel):
    """Which Redis the service uses; neither address nor credentials."""

    kind: Literal["embedded", "external"]
    namespace: str


class ReleaseInfo(BaseModel):
    """The release in memory."""

    version: str
    created: str
    dataset: str
    num_items: int
    beam_widths: list[int] = Field(description="The first is the default.")
    max_history: int = Field(description="Items of a history that the model looks at.")
    metrics: dict[str, float]


class InfoResponse(BaseModel):
    """What this process is and does; `release` and `provider` are null until a release is loaded."""

    service: str = "mmgrec"
    version: str
    release: ReleaseInfo | None
    device: str = Field(description="Device asked for.")
    provider: str | None = Field(description="Execution provider that really runs the decoder.")
    limits: Limits
    redis: RedisInfo


class LiveResponse(BaseModel):
    """The process answers."""

    live: Literal[True] = True


class ReadyResponse(BaseModel):
    """Whether requests are answered, and what is wrong."""

    ready: bool
    degraded: bool = Field(description="Ready, but not all is well: see `reasons`.")
    reasons: list[str] = Field(examples=[["no_release"]])
    message: str | None = Field(description="What to do about it.")
    release: str | None
