"""Exhaustive search with the dense term alone: what the beam is held against, and what chooses a graph encoder."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.graph_encoder import ItemVectors
from model.history_state import HistoryState
from model.sequence_encoder import SequenceEncoder
from offline.dataset import MOST_VALIDATION_USERS, Dataset, Histories, held_out_users
from offline.metrics import FloatArray, quality_by_user
from offline.splits import HeldOutSplit
from service.decoder import pad_histories

IntArray = npt.NDArray[np.int64]

BATCH_SCORES = 2**26
"""Scores computed at a time; a larger catalogue takes fewer users at a time."""

Move = Callable[[Tensor, Tensor], Tensor]
"""History states [B, D] and histories int64 [B, H], newest first, -1 = empty slot, to states [B, D] to search with."""

Score = Callable[[Tensor, Tensor], Tensor]
"""History states [B, D] and histories int64 [B, H], newest first, -1 = empty slot, to scores of all items [B, N]."""


def dense_ranking(
    history_state: HistoryState,
    vectors: ItemVectors,
    dataset: Dataset,
    users: IntArray,
    split: HeldOutSplit,
    length: int = 20,
    move: Move | None = None,
) -> IntArray:
    """The items of the highest cosine that each user does not have yet: int64 [U, length], -1 where there are fewer.

    `move` moves the history states first, as the sequence encoder does.
    """

    def cosine(state: Tensor, history: Tensor) -> Tensor:
        return (state if move is None else move(state, history)) @ vectors.keys.T

    return exhaustive_ranking(cosine, history_state, vectors, dataset, users, split, length)


def moved_by(encoder: SequenceEncoder | None, items: Tensor) -> Move | None:
    """How a sequence encoder moves the states of histories, given the item vectors [N, F]; None without one."""
    if encoder is None:
        return None

    def move(state: Tensor, history: Tensor) -> Tensor:
        found: Tensor = encoder(state, items[history.clamp(min=0)], (history >= 0).to(state.dtype))
        return found

    return move


@torch.no_grad()
def exhaustive_ranking(
    score: Score,
    history_state: HistoryState,
    vectors: ItemVectors,
    dataset: Dataset,
    users: IntArray,
    split: HeldOutSplit,
    length: int = 20,
) -> IntArray:
    """The best items by any score that each user does not have yet: int64 [U, length], -1 where there are fewer."""
    histories, parts = dataset.histories(split), [np.empty((0, length), np.int64)]
    for batch in _user_batches(users, dataset.num_items):
        rows = [histories.of(int(user)) for user in batch]
        padded = torch.from_numpy(pad_histories(rows, len(history_state.recency)))
        state = history_state(vectors.contexts[padded.clamp(min=0)], (padded >= 0).float())
        needed = min(len(vectors.keys), length + max(map(len, rows)))
        order = score(state, padded).topk(needed, dim=1).indices.numpy()
        parts.append(first_unseen(order, histories, batch, length))
    return np.concatenate(parts)


def dense_quality(
    history_state: HistoryState, vectors: ItemVectors, dataset: Dataset, move: Move | None = None
) -> FloatArray:
    """Validation recall@20 + ndcg@20 of the dense term alone, of each user (`held_out_users`)."""
    users = held_out_users(dataset, "valid", MOST_VALIDATION_USERS)
    ranking = dense_ranking(history_state, vectors, dataset, users, "valid", move=move)
    return quality_by_user(ranking, users, dataset.targets("valid"))


def _user_batches(users: IntArray, num_items: int) -> Iterator[IntArray]:
    """The users in pieces whose scores of all items stay within `BATCH_SCORES`, 256 users at most."""
    size = max(1, min(256, BATCH_SCORES // num_items))
    for start in range(0, len(users), size):
        yield users[start : start + size]


def first_unseen(order: IntArray, histories: Histories, users: IntArray, length: int) -> IntArray:
    """The first `length` of each row of `order` [U, N] outside the user's history, -1 where there are fewer."""
    kept = np.full((len(users), length), -1, np.int64)
    for row, user in enumerate(users):
        known = histories.of(int(user))
        first = order[row][: length + len(known)]  # that many hold `length` others, however long the row is
        fresh = first[~np.isin(first, known)][:length]
        kept[row, : len(fresh)] = fresh
    return kept
