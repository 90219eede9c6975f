"""The first stage of an answer: a request and what Redis knows of its user become item rows and filters."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from service.category_filter import CategoryFilter
from service.constraints import ItemFilter
from service.releases.release import Int64Array, Release
from service.schemas.recommend import CategoryConditions, RecommendRequest
from service.users.user_items import UserItems


class RequestLimitError(ValueError):
    """A request asks for more than this service or its release allows; the message names field, value and limit."""


class Prepared(NamedTuple):
    """A request as the decoder takes it.

    Attributes:
        history: int64 item rows, oldest first, none twice.
        excluded: int64 item rows that must not come back, in any order, none twice.
        candidates: int64 item rows that alone may come back; None for the whole catalogue.
        categories: what is asked of the items' categories; None for nothing.
        unknown: how many items of the history the release does not know.
        unknown_candidates: how many candidates the release does not know.
    """

    history: Int64Array
    excluded: Int64Array
    candidates: Int64Array | None
    categories: CategoryFilter | None
    unknown: int
    unknown_candidates: int


def choose_beam_width(request: RecommendRequest, release: Release, max_n: int) -> int:
    """The beam width of a request: the one it names, else the release's default.

    Raises:
        RequestLimitError: the release does not offer that beam width, or `offset + n` is above it or above `max_n`.
    """
    offered = release.beam_widths
    beam_width = offered[0] if request.beam_width is None else request.beam_width
    if beam_width not in offered:
        raise RequestLimitError(
            f"beam_width: {beam_width} is not offered by release {release.version}; "
            f"take one of {', '.join(map(str, offered))}"
        )
    last = request.offset + request.n
    if last > min(max_n, beam_width):
        named = f"offset + n: {last}" if request.offset else f"n: {request.n}"
        if last > max_n:
            raise RequestLimitError(f"{named} is above the limit of this service, {max_n} (MMGREC_MAX_N)")
        wider = sorted(width for width in offered if width >= last)
        cure = f"ask for beam_width {wider[0]} or fewer items" if wider else "ask for fewer items"
        raise RequestLimitError(f"{named} is above the beam width, {beam_width}; {cure}")
    return beam_width


def prepare(request: RecommendRequest, stored: UserItems, release: Release) -> Prepared:
    """Turn item ids into rows. The request's history is used instead of the stored one; both count as seen.

    An item that occurs twice counts where it occurs first, as in training and evaluation (`offline.dataset`).
    """
    history = request.history or stored.history
    known = _rows(history, release)
    excluded = set(_rows(request.exclude_items, release))
    if request.exclude_seen:
        excluded.update(known)
        others = {*stored.seen, *stored.history}.difference(history)
        excluded.update(_rows(others, release))
    candidates = None if request.candidates is None else _rows(request.candidates, release)
    return Prepared(
        history=np.array(list(dict.fromkeys(known)), np.int64),
        excluded=np.array(list(excluded), np.int64),
        candidates=None if candidates is None else np.array(candidates, np.int64),
        categories=_category_filter(request.categories),
        unknown=len(history) - len(known),
        unknown_candidates=len(request.candidates or ()) - len(candidates or ()),
    )


def item_filter(release: Release, prepared: Prepared) -> ItemFilter:
    """What a request may be answered with. Only the inference thread may ask where there are categories."""
    allowed = None if prepared.categories is None else release.categories.allowed(prepared.categories)
    return ItemFilter(prepared.excluded, prepared.candidates, allowed)


def _rows(item_ids: Iterable[str], release: Release) -> list[int]:
    """Rows of those items that the release knows, in the same order."""
    return [row for row in map(release.row_of.get, item_ids) if row is not None]


def _category_filter(conditions: CategoryConditions | None) -> CategoryFilter | None:
    if conditions is None:
        return None
    wanted = CategoryFilter(
        any=frozenset(conditions.any), all=frozenset(conditions.all), none=frozenset(conditions.none)
    )
    return None if wanted.is_empty else wanted
