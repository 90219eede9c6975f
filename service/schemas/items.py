"""What `GET /items/{item_id}` and `GET /items/{item_id}/similar` take and answer."""

from typing import Annotated

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from service.contract.item_table import MAX_ID_LENGTH
from service.schemas.fields import MAX_CATEGORIES, MAX_DEADLINE_MS, MIN_DEADLINE_MS, Category

ItemIdInPath = Annotated[
    str,
    Path(
        min_length=1,
        max_length=MAX_ID_LENGTH,
        description="Percent-encoded, so `a/b` is `a%2Fb`.",
        examples=["item-42"],
    ),
]


class ItemResponse(BaseModel):
    """What the release knows of an item."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "item_id": "item-42",
                    "title": "Blue kettle",
                    "categories": ["kitchen"],
                    "rec_id": [17, 203, 0],
                    "train_count": 118,
                    "release": "20261121-1",
                }
            ]
        }
    )

    item_id: str
    title: str | None
    categories: list[str]
    rec_id: list[int] = Field(description="Codes, coarse to fine, and the popularity token.")
    train_count: int = Field(description="Interactions in training.")
    release: str


class SimilarQuery(BaseModel):
    """Parameters of the search for similar items; they mean what they mean in `POST /recommend`."""

    model_config = ConfigDict(extra="forbid")

    n: int = Field(default=10, ge=1)
    offset: int = Field(default=0, ge=0)
    categories: list[Category] = Field(
        default=[], max_length=MAX_CATEGORIES, description="Repeatable; an item needs at least one of them."
    )
    beam_width: int | None = Field(default=None, ge=1)
    include_metadata: bool = True
    explain: bool = False
    deadline_ms: int | None = Field(default=None, ge=MIN_DEADLINE_MS, le=MAX_DEADLINE_MS)
