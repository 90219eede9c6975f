"""Recent histories, as Redis holds them, through the candidate: what it would answer to the users of today."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import redis

from offline.retraining.served_release import OpenDecoder
from service.constraints import ItemFilter
from service.contract.history_scripts import DEFAULT_SEEN_CAP
from service.contract.redis_keys import HISTORY_CAP, RedisKeys

MOST_HISTORIES = 200
BATCH_USERS = 64
TOP = 20

IntArray = npt.NDArray[np.int64]


def replay(candidate: OpenDecoder, client: redis.Redis, keys: RedisKeys, user_ids: Sequence[str]) -> dict[str, int]:
    """Answer the first `MOST_HISTORIES` of these users that have a history.

    Returns:
        How many `histories`, and over all answers the items that are `illegal`, `duplicates`, `seen`, or `missing`
        (fewer than asked for although more are legal): all of them must be 0.
    """
    counts = {"histories": 0, "illegal": 0, "duplicates": 0, "seen": 0, "missing": 0}
    row_of = {item_id: row for row, item_id in enumerate(candidate.item_ids)}
    stored = _stored(client, keys, user_ids)[:MOST_HISTORIES]
    for start in range(0, len(stored), BATCH_USERS):
        batch = [_known_rows(row_of, *both) for both in stored[start : start + BATCH_USERS]]
        filters = [ItemFilter(excluded=excluded) for _, excluded in batch]
        width = candidate.decoder.settings.beam_widths[0]
        leaves = candidate.decoder.decode([rows for rows, _ in batch], filters, beam_width=width).leaves[:, :TOP]
        for answer, (_, excluded) in zip(leaves, batch, strict=True):
            _count(counts, answer, excluded, candidate)
    return counts


def _count(counts: dict[str, int], answer: IntArray, excluded: IntArray, candidate: OpenDecoder) -> None:
    num_items = candidate.trie.num_items
    given = answer[answer >= 0]
    legal = given[given < num_items]
    rows = candidate.trie.leaf_to_row[legal]
    counts["histories"] += 1
    counts["illegal"] += len(given) - len(legal)
    counts["duplicates"] += len(rows) - len(np.unique(rows))
    counts["seen"] += int(np.isin(rows, excluded).sum())
    counts["missing"] += max(0, min(len(answer), num_items - len(excluded)) - len(rows))


def _known_rows(row_of: Mapping[str, int], history: Sequence[str], seen: Sequence[str]) -> tuple[IntArray, IntArray]:
    """Rows of the history, oldest first, and of all that may not come back; unknown ids are left out."""
    rows, others = ([row_of[item] for item in items if item in row_of] for items in (history, seen))
    return np.array(rows, np.int64), np.unique(np.array([*rows, *others], np.int64))


def _stored(client: redis.Redis, keys: RedisKeys, user_ids: Sequence[str]) -> list[tuple[list[str], list[str]]]:
    """Histories, oldest first, and seen items of users that have a history; a key of another type counts as none."""
    with client.pipeline(transaction=False) as pipeline:
        for user_id in user_ids:
            pipeline.lrange(keys.history(user_id), 0, HISTORY_CAP - 1)
            pipeline.zrange(keys.seen(user_id), -DEFAULT_SEEN_CAP, -1)
        replies: list[Any] = pipeline.execute(raise_on_error=False)
    texts = [
        [] if isinstance(reply, Exception) else [raw.decode(errors="replace") for raw in reply] for reply in replies
    ]
    return [(history[::-1], seen) for history, seen in zip(texts[::2], texts[1::2], strict=True) if history]
