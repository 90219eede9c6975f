"""The one way in which every peer is ranked: all items, the history left out, ties by item id (design, section 3)."""

from dataclasses import dataclass

import numpy as np

from offline.baselines.peer import FloatArray, IntArray, Peer
from offline.dataset import MOST_VALIDATION_USERS, Dataset, Histories, held_out_users
from offline.metrics import quality_by_user
from offline.splits import HeldOutSplit

LIST_LENGTH = 20
SCORE_BYTES = 64 * 2**20
"""What the scores of one batch of users may take."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PeerRankings:
    """What a peer recommends to every user with held-out items.

    Attributes:
        users: int64 [U], user rows.
        items: int64 [U, K], item rows, best first, -1 where the list ends.
        scores: float32 [U, K], -inf where the list ends.
    """

    users: IntArray
    items: IntArray
    scores: FloatArray


def rank_users(peer: Peer, dataset: Dataset, split: HeldOutSplit, *, max_users: int = 0) -> PeerRankings:
    """Rank all items for the users that have held-out items in `split`.

    A user without any history gets the most popular items from every peer: there is nothing to go by.

    Args:
        peer: fitted.
        dataset: decides histories and targets by the protocol of design section 3.
        split: which held-out items.
        max_users: only that many users, evenly spread; 0 = all.

    Raises:
        FloatingPointError: the peer's scores are not finite.
    """
    users = held_out_users(dataset, split, max_users)
    histories, num_listed = dataset.histories(split), min(LIST_LENGTH, dataset.num_items)
    items = np.full((len(users), LIST_LENGTH), -1, np.int64)
    scores = np.full((len(users), LIST_LENGTH), -np.inf, np.float32)
    by_id = np.argsort(np.asarray(dataset.item_ids, object), kind="stable")
    popularity = np.log((dataset.train_counts() + 1) / (dataset.train_counts() + 1).sum())
    step = max(1, SCORE_BYTES // (4 * dataset.num_items))
    for start in range(0, len(users), step):
        batch = users[start : start + step]
        found = peer.scores(histories, batch)
        found[np.diff(histories.offsets)[batch] == 0] = popularity
        if not np.isfinite(found).all():
            raise FloatingPointError(f"{type(peer).__name__} scored an item with a number that is not finite")
        _leave_out(found, histories, batch)
        for row, by_row in enumerate(found[:, by_id], start):
            order = _best(by_row, num_listed)
            items[row, : len(order)], scores[row, : len(order)] = by_id[order], by_row[order]
    return PeerRankings(users=users, items=items, scores=scores)


def validation_quality(peer: Peer, dataset: Dataset) -> float:
    """recall@20 + ndcg@20 on validation: what settings are chosen by. The dataset must have validation users."""
    rankings = rank_users(peer, dataset, "valid", max_users=MOST_VALIDATION_USERS)
    return float(quality_by_user(rankings.items, rankings.users, dataset.targets("valid")).mean())


def _leave_out(scores: FloatArray, histories: Histories, users: IntArray) -> None:
    for row, user in enumerate(users):
        scores[row, histories.of(int(user))] = -np.inf


def _best(scores: FloatArray, num_listed: int) -> IntArray:
    """Places of the highest scores [N], highest first, ties by place; -inf is never listed."""
    lowest = -np.partition(-scores, num_listed - 1)[num_listed - 1]
    places = np.flatnonzero((scores >= lowest) & (scores > -np.inf))
    return places[np.argsort(-scores[places], kind="stable")[:num_listed]]
