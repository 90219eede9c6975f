"""Holding every answer against what was asked, what the user had seen, and the release that it names."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.soaking.catalogues import category_of, title_of
from benchmarks.soaking.requests import Body

FAULTS = ("illegal", "duplicate", "excluded", "filtered_out", "seen", "mixed", "count")
"""What can be wrong with an answer: an item that its release does not have, one twice, one that the request excludes,
one that its filters leave out, one that the user has seen, parts of two releases, and another count than it says."""


def faults_of(
    asked: Body, answer: Mapping[str, Any], seen: frozenset[str], releases: Mapping[str, frozenset[str]]
) -> list[str]:
    """Names of `FAULTS` that an answer has.

    Args:
        asked: what was asked for.
        answer: of the service, to that.
        seen: by the user when the request was sent, as acknowledged; held against answers that are not degraded.
        releases: item ids of every version.
    """
    version, items = str(answer["release"]), [str(item["item_id"]) for item in answer["items"]]
    left_out = frozenset(asked.get("history", ())) | (frozenset() if answer["degraded"] else seen)
    wrong = {
        "illegal": version not in releases or not releases[version].issuperset(items),
        "duplicate": len(set(items)) < len(items),
        "excluded": not frozenset(asked.get("exclude_items", ())).isdisjoint(items),
        "filtered_out": not all(_fits(asked, item) for item in items),
        "seen": not left_out.isdisjoint(items),
        "mixed": any(item["title"] != title_of(version, str(item["item_id"])) for item in answer["items"]),
        "count": not _counts(asked, answer),
    }
    return [name for name in FAULTS if wrong[name]]


def reads_the_user(asked: Body) -> bool:
    """Whether an answer needs what is stored of the user."""
    return "user_id" in asked


def _fits(asked: Body, item: str) -> bool:
    wanted, category = asked.get("categories"), category_of(item)
    in_categories = wanted is None or (category in wanted["any"] and category not in wanted["none"])
    return in_categories and ("candidates" not in asked or item in asked["candidates"])


def _counts(asked: Body, answer: Mapping[str, Any]) -> bool:
    """Fewer than were asked for are said to be, never more."""
    items: Sequence[Any] = answer["items"]
    exhausted = len(items) < asked["n"]
    ranks = [item["rank"] for item in items] == list(range(1, len(items) + 1))
    return ranks and len(items) == answer["returned"] <= asked["n"] and answer["exhausted"] is exhausted
