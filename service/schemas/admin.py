"""Bodies of `/admin/*`."""

from collections.abc import Mapping

from pydantic import BaseModel, Field

from service.releases.release_watch import Arm

ARM_EXAMPLE = [{"arm": "main", "release": "20261121T093000000000-1a2b3c4d", "share": 1.0, "reason": None}]


class ServedArm(BaseModel):
    """What this process answers the users of one arm from."""

    arm: str
    release: str | None = Field(description="Version in memory, null when none could be loaded.")
    share: float = Field(description="Of the users, 0 to 1.")
    reason: str | None = Field(description="Why it is not the active one; see GET /health/ready.")


class ArmsResponse(BaseModel):
    """What this process answers from."""

    arms: list[ServedArm] = Field(examples=[ARM_EXAMPLE])


class ListedRelease(BaseModel):
    """One published release."""

    version: str
    active_in: list[str] = Field(description="Arms whose pointer names it.")
    loaded_in: list[str] = Field(description="Arms that this process answers from it.")


class ReleasesResponse(ArmsResponse):
    """What is published, oldest first, and what this process answers from."""

    releases: list[ListedRelease]


def served(arms: Mapping[str, Arm]) -> list[ServedArm]:
    """The arms of a release watch, for callers."""
    return [
        ServedArm(
            arm=name,
            release=None if arm.release is None else arm.release.version,
            share=arm.share,
            reason=None if arm.problem is None else arm.problem.reason,
        )
        for name, arm in arms.items()
    ]
