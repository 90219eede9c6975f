"""One answer in three stages: prepare (history to rows), decode (beam search), resolve (leaf positions to items).

Knows nothing of HTTP. A request that nothing can be decoded for gets the popular items, and the answer says so.
"""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from service.batching import MicroBatcher
from service.category_filter import CategoryFilter
from service.constraints import ItemFilter
from service.decoder import Decoded
from service.histories import Histories
from service.inference import InferenceThread
from service.redis_connection import RedisUnavailableError
from service.release import Int64Array, Release
from service.schemas.recommend import (
    CategoryConditions,
    FallbackReason,
    RecommendedItem,
    RecommendRequest,
    RecommendResponse,
)
from service.user_items import UserItems


class RequestLimitError(ValueError):
    """A request asks for more than this service or its release allows; the message names field, value and limit."""


class Prepared(NamedTuple):
    """A request as the decoder takes it.

    Attributes:
        history: int64 item rows, oldest first, none twice.
        excluded: int64 item rows that must not come back, sorted, none twice.
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


class Pick(NamedTuple):
    """One item of an answer, by row; both scores are None for a popular item."""

    row: int
    score: float | None
    log_prob: float | None


class Recommender:
    """Answers requests from a release and what Redis knows of the user."""

    def __init__(self, histories: Histories, inference: InferenceThread, *, max_n: int, max_batch: int) -> None:
        self._histories = histories
        self._inference = inference
        self._batcher = MicroBatcher(inference, decode, max_batch=max_batch)
        self._max_n = max_n

    async def recommend(self, request: RecommendRequest, release: Release, *, request_id: str) -> RecommendResponse:
        """Answer one request from one release.

        Raises:
            RequestLimitError: `n` or `beam_width` is beyond what is offered.
        """
        started = time.perf_counter()
        beam_width = choose_beam_width(request, release, self._max_n)
        stored, degraded = await self._stored_items(request.user_id)
        prepared = prepare(request, stored, release)
        reason = None if len(prepared.history) else _why_fallback(request, stored, degraded=degraded)
        if reason is None:
            decoded = await self._batcher.decode(release, prepared, beam_width)
            picks = resolve(decoded, release, request.n)
        else:
            picks = await self._inference.run(popular, release, prepared, request.n)
        return RecommendResponse(
            request_id=request_id,
            release=release.version,
            items=[_describe(pick, place, release, request.include_metadata) for place, pick in enumerate(picks, 1)],
            source="model" if reason is None else "fallback:popular",
            fallback_reason=reason,
            degraded=degraded,
            returned=len(picks),
            exhausted=len(picks) < request.n,
            unknown_history_items=prepared.unknown,
            unknown_candidates=prepared.unknown_candidates,
            history_length=min(len(prepared.history), release.manifest.model.max_history),
            took_ms=round((time.perf_counter() - started) * 1000, 3),
        )

    async def _stored_items(self, user_id: str | None) -> tuple[UserItems, bool]:
        """What is known of the user, and whether Redis failed."""
        if user_id is None:
            return UserItems(), False
        try:
            stored = await self._histories.read(user_id)
            return stored, stored.stale
        except RedisUnavailableError:
            return UserItems(), True


def choose_beam_width(request: RecommendRequest, release: Release, max_n: int) -> int:
    """The beam width of a request: the one it names, else the release's default.

    Raises:
        RequestLimitError: the release does not offer that beam width, or `n` is above it or above `max_n`.
    """
    offered = release.beam_widths
    beam_width = offered[0] if request.beam_width is None else request.beam_width
    if beam_width not in offered:
        raise RequestLimitError(
            f"beam_width: {beam_width} is not offered by release {release.version}; "
            f"take one of {', '.join(map(str, offered))}"
        )
    if request.n > max_n:
        raise RequestLimitError(f"n: {request.n} is above the limit of this service, {max_n} (MMGREC_MAX_N)")
    if request.n > beam_width:
        wider = sorted(width for width in offered if width >= request.n)
        cure = f"ask for beam_width {wider[0]} or fewer items" if wider else "ask for fewer items"
        raise RequestLimitError(f"n: {request.n} is above the beam width, {beam_width}; {cure}")
    return beam_width


def prepare(request: RecommendRequest, stored: UserItems, release: Release) -> Prepared:
    """Turn item ids into rows. The request's history is used instead of the stored one; both count as seen.

    An item that occurs twice counts where it occurs first, as in training and evaluation (`offline.dataset`).
    """
    row_of = release.row_of
    history = request.history or stored.history
    known = [row_of[item_id] for item_id in history if item_id in row_of]
    excluded = set(request.exclude_items)
    if request.exclude_seen:
        excluded.update(stored.seen, stored.history, request.history or ())
    candidates = None
    if request.candidates is not None:
        candidates = np.array([row_of[item_id] for item_id in request.candidates if item_id in row_of], np.int64)
    return Prepared(
        history=np.array(list(dict.fromkeys(known)), np.int64),
        excluded=np.array(sorted(row_of[item_id] for item_id in excluded if item_id in row_of), np.int64),
        candidates=candidates,
        categories=_category_filter(request.categories),
        unknown=len(history) - len(known),
        unknown_candidates=0 if candidates is None else len(request.candidates or ()) - len(candidates),
    )


def _category_filter(conditions: CategoryConditions | None) -> CategoryFilter | None:
    if conditions is None:
        return None
    wanted = CategoryFilter(
        any=frozenset(conditions.any), all=frozenset(conditions.all), none=frozenset(conditions.none)
    )
    return None if wanted.is_empty else wanted


def decode(release: Release, batch: Sequence[Prepared], beam_width: int) -> list[Decoded]:
    """Decode requests in one run, on the inference thread: for each, arrays [beam_width]."""
    filters = [_item_filter(release, prepared) for prepared in batch]
    decoded = release.decoder.decode([prepared.history for prepared in batch], filters, beam_width=beam_width)
    return [Decoded(*arrays) for arrays in zip(*decoded, strict=True)]


def _item_filter(release: Release, prepared: Prepared) -> ItemFilter:
    allowed = None if prepared.categories is None else release.categories.allowed(prepared.categories)
    return ItemFilter(prepared.excluded, prepared.candidates, allowed)


def resolve(decoded: Decoded, release: Release, n: int) -> list[Pick]:
    """The best `n` items of a search, equal scores by item id; dead slots are no items.

    Args:
        decoded: arrays [beam_width].
        release: the release that was decoded with.
        n: how many items at most.
    """
    live = np.flatnonzero(decoded.leaves >= 0)
    rows = release.trie.leaf_to_row[decoded.leaves[live]].tolist()
    scores, log_probs = decoded.score[live].tolist(), decoded.log_prob[live].tolist()
    item_ids = release.items.item_ids
    order = sorted(range(len(rows)), key=lambda at: (-scores[at], item_ids[rows[at]]))
    return [Pick(rows[at], scores[at], log_probs[at]) for at in order[:n]]


def popular(release: Release, prepared: Prepared, n: int) -> list[Pick]:
    """The `n` most interacted items that the request allows, on the inference thread."""
    wanted = _item_filter(release, prepared)
    if wanted.candidates is not None:
        rows: npt.NDArray[np.integer[Any]] = np.unique(wanted.candidates)
        if wanted.allowed is not None:
            rows = rows[wanted.allowed.leaves[release.trie.row_to_leaf()[rows]]]
    elif wanted.allowed is not None:
        rows = release.trie.leaf_to_row[wanted.allowed.leaves]
    else:
        rows = release.popular_rows[: n + len(wanted.excluded)]
    rows = rows[~np.isin(rows, wanted.excluded)]
    places = release.popular_place[rows]
    if len(places) > n:
        places = np.partition(places, n - 1)[:n]
    return [Pick(row, None, None) for row in release.popular_rows[np.sort(places)].tolist()]


def _why_fallback(request: RecommendRequest, stored: UserItems, *, degraded: bool) -> FallbackReason:
    if request.history or stored.history:
        return "no_known_items"
    if degraded:
        return "history_unavailable"
    if request.user_id is not None and not stored.seen:
        return "unknown_user"
    return "empty_history"


def _describe(pick: Pick, place: int, release: Release, include_metadata: bool) -> RecommendedItem:
    items = release.items
    return RecommendedItem(
        item_id=items.item_ids[pick.row],
        rank=place,
        score=pick.score,
        log_prob=pick.log_prob,
        title=(items.titles[pick.row] or None) if include_metadata else None,
        categories=list(items.categories[pick.row]) if include_metadata else None,
    )
