"""Bodies of `/admin/*`."""

from pydantic import BaseModel, Field


class ListedRelease(BaseModel):
    """One published release."""

    version: str
    active: bool = Field(description="Whether the pointer names it.")
    loaded: bool = Field(description="Whether this process answers from it.")


class ReleasesResponse(BaseModel):
    """What is published, oldest first."""

    releases: list[ListedRelease]


class LoadedResponse(BaseModel):
    """What this process answers from, after it has looked at the pointer."""

    release: str | None = Field(description="Version in memory, null when none could be loaded.")
    reasons: list[str] = Field(description="Why it is not the active one; see GET /health/ready.", examples=[[]])
