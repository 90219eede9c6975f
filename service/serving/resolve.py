"""The last stage of an answer: leaf positions, or the popular list, become items."""

from collections.abc import Sequence
from operator import eq
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from service.decoder import Decoded
from service.releases.release import Release
from service.schemas.items import ItemResponse
from service.schemas.recommend import Explanation, RecommendedItem
from service.serving.prepare import Prepared, item_filter


class UnknownItemError(LookupError):
    """An item is asked for that the release does not have."""

    def __init__(self, item_id: str, release: Release) -> None:
        shown = item_id.encode("utf-8", "backslashreplace").decode()
        super().__init__(
            f"item_id: {shown!r} is no item of release {release.version}; item ids stand percent-encoded in a path"
        )


class Pick(NamedTuple):
    """One item of an answer, by row; both scores are None for a popular item."""

    row: int
    score: float | None
    log_prob: float | None


def resolve(decoded: Decoded, release: Release, n: int, offset: int = 0) -> list[Pick]:
    """The best `n` items of a search behind the first `offset`, equal scores by item id; dead slots are no items.

    Args:
        decoded: arrays [beam_width], best score first.
        release: the release that was decoded with.
        n: how many items at most.
        offset: how many to skip.
    """
    last, scores = offset + n, decoded.score
    end = int(np.count_nonzero(decoded.leaves >= 0))  # dead slots stand behind all others
    # What stands behind the last one cannot come before it, unless it ties with it.
    while last < end and scores[last] == scores[last - 1]:
        last += 1
    end = min(last, end)
    rows = release.trie.leaf_to_row[decoded.leaves[:end]].tolist()
    best = scores[:end].tolist()
    picks = list(map(Pick, rows, best, decoded.log_prob[:end].tolist()))
    if any(map(eq, best, best[1:])):
        item_ids = release.items.item_ids
        picks.sort(key=lambda pick: (-(pick.score or 0.0), item_ids[pick.row]))
    return picks[offset : offset + n]


def popular(release: Release, prepared: Prepared, n: int, offset: int = 0) -> list[Pick]:
    """The `n` most interacted items that the request allows, behind the first `offset`; see `item_filter`."""
    wanted, last = item_filter(release, prepared), offset + n
    if wanted.candidates is not None:
        rows: npt.NDArray[np.integer[Any]] = np.unique(wanted.candidates)
        if wanted.allowed is not None:
            rows = rows[wanted.allowed.leaves[release.trie.row_to_leaf()[rows]]]
    elif wanted.allowed is not None:
        rows = release.trie.leaf_to_row[wanted.allowed.leaves]
    else:
        rows = release.popular_rows[: last + len(wanted.excluded)]
    rows = rows[~np.isin(rows, wanted.excluded)]
    places = release.popular_place[rows]
    if len(places) > last:
        places = np.partition(places, last - 1)[:last]
    return [Pick(row, None, None) for row in release.popular_rows[np.sort(places)[offset:]].tolist()]


def describe(
    picks: Sequence[Pick],
    release: Release,
    *,
    offset: int,
    include_metadata: bool,
    explanations: Sequence[Explanation] | None,
) -> list[RecommendedItem]:
    """The items of an answer as callers see them."""
    items = release.items
    return [
        RecommendedItem(
            items.item_ids[row],
            offset + place + 1,
            score,
            log_prob,
            title=(items.titles[row] or None) if include_metadata else None,
            categories=list(items.categories[row]) if include_metadata else None,
            explanation=None if explanations is None else explanations[place],
        )
        for place, (row, score, log_prob) in enumerate(picks)
    ]


def row_of_item(item_id: str, release: Release) -> int:
    """The row of an item.

    Raises:
        UnknownItemError: the release has no such item.
    """
    row = release.row_of.get(item_id)
    if row is None:
        raise UnknownItemError(item_id, release)
    return row


def describe_item(row: int, release: Release) -> ItemResponse:
    """What a release knows of an item."""
    items = release.items
    leaf = release.trie.row_to_leaf()[[row]]
    return ItemResponse(
        item_id=items.item_ids[row],
        title=items.titles[row] or None,
        categories=list(items.categories[row]),
        rec_id=release.trie.rec_ids_at(leaf)[0].tolist(),
        train_count=int(items.train_counts[row]),
        release=release.version,
    )
