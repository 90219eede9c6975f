"""Exhaustive search with the dense term alone: what the beam is held against, and what chooses a graph encoder."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from model.graph_encoder import ItemVectors
from model.history_state import HistoryState
from offline.dataset import Dataset, Histories
from offline.metrics import ranking_metrics
from offline.splits import HeldOutSplit
from service.decoder import pad_histories

IntArray = npt.NDArray[np.int64]

BATCH_SCORES = 2**26
"""Scores computed at a time; a larger catalogue takes fewer users at a time."""

QUALITY_USERS = 4000
"""Users that a choice by validation looks at, at most."""


@torch.no_grad()
def dense_ranking(
    history_state: HistoryState,
    vectors: ItemVectors,
    dataset: Dataset,
    users: IntArray,
    split: HeldOutSplit,
    length: int = 20,
) -> IntArray:
    """The items of the highest cosine that each user does not have yet: int64 [U, length], -1 where there are fewer."""
    histories, parts = dataset.histories(split), [np.empty((0, length), np.int64)]
    for batch in user_batches(users, dataset.num_items):
        rows = [histories.of(int(user)) for user in batch]
        padded = torch.from_numpy(pad_histories(rows, len(history_state.recency)))
        state = history_state(vectors.contexts[padded.clamp(min=0)], (padded >= 0).float())
        needed = min(len(vectors.keys), length + max(map(len, rows)))
        order = (state @ vectors.keys.T).topk(needed, dim=1).indices.numpy()
        parts.append(first_unseen(order, histories, batch, length))
    return np.concatenate(parts)


def dense_quality(history_state: HistoryState, vectors: ItemVectors, dataset: Dataset) -> float:
    """Validation recall@20 + ndcg@20 of the dense term alone."""
    targets = dataset.targets("valid")
    users = some_users(targets)
    found = ranking_metrics(dense_ranking(history_state, vectors, dataset, users, "valid"), users, targets, (20,))
    return found["recall@20"] + found["ndcg@20"]


def user_batches(users: IntArray, num_items: int) -> Iterator[IntArray]:
    """The users in pieces whose scores of all items stay within `BATCH_SCORES`, 256 users at most."""
    size = max(1, min(256, BATCH_SCORES // num_items))
    for start in range(0, len(users), size):
        yield users[start : start + size]


def some_users(targets: Histories) -> IntArray:
    """Users that have targets, `QUALITY_USERS` at most, evenly over the dataset."""
    users = np.flatnonzero(np.diff(targets.offsets))
    return users[np.unique(np.linspace(0, len(users) - 1, QUALITY_USERS).astype(np.int64))]


def first_unseen(order: IntArray, histories: Histories, users: IntArray, length: int) -> IntArray:
    """The first `length` of each row of `order` [U, N] outside the user's history, -1 where there are fewer."""
    kept = np.full((len(users), length), -1, np.int64)
    for row, user in enumerate(users):
        fresh = order[row][~np.isin(order[row], histories.of(int(user)))][:length]
        kept[row, : len(fresh)] = fresh
    return kept
