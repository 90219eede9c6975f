"""Transition counts: what followed what in training sequences, over one to three hops.

No training at all, and hard to beat on sequential data: a hop leads from an item to what came after it (or, with less
weight, before it), and two hops to what was never seen together. In the spirit of the training-free graph heuristic
TGH (haoyuhan1/GraphRec, 2026); the formula is ours.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from offline.baselines.matrices import dense_scores, history_matrix, keep_largest, pruned_product
from offline.baselines.peer import FloatArray, IntArray, RecencyPeer
from offline.dataset import Dataset, Histories

WINDOW = 10
"""Pairs further apart in a sequence are not counted; with the default decay they would weigh less than .11."""
MOST_KEPT = 300
"""Items kept per item after every hop."""
MOST_PAIRS = 2**24
"""Pairs of items beyond which, of every item, only the most frequent are kept before the first hop, too: the product
of two hops takes the square of what is left of an item."""

# Defaults, chosen by hand on the validation split of `amazon-beauty` (reference/quality.md) and the same everywhere;
# hops and recency are chosen anew on every dataset. There, recall@10 / ndcg@10 of 4,000 users, two hops: .1022 / .0642.
STEP_DECAY = 0.8
"""Weight of a pair per further step between its items. With .5 it is .0978 / .0632, with 1 .0988 / .0625."""
BACKWARD_WEIGHT = 0.4
"""Weight of the opposite direction: who buys the refill may want the pen, but less. With 0 it is .1020 / .0658, with .2
.1025 / .0652, with .8 .0988 / .0601: below .4 it hardly matters there."""


@dataclass(kw_only=True)
class Transitions(RecencyPeer):
    """Weights [N, N]: `S + h·T·S + h²·T²·S`, up to `num_hops` terms.

    S holds the decayed counts `C_ij / (n_i · n_j)^popularity_power`, where n counts training interactions; T holds the
    same counts with every row summing to one. Rows of S that sum to one lose .007 recall@10 on amazon-beauty.

    Attributes:
        num_hops: 1 to 3.
        hop_weight: h.
        order_decay: weight of a pair per step between its items.
        backward: weight of the opposite direction.
        popularity_power: how much less an item says, and is said about, the more interactions it has.
        recency: see `RecencyPeer`.
    """

    num_hops: int = 2
    hop_weight: float = 0.3
    order_decay: float = STEP_DECAY
    backward: float = BACKWARD_WEIGHT
    popularity_power: float = 0.3
    recency: float = 0.7

    def fit(self, dataset: Dataset, *, seed: int) -> None:
        """Count the pairs, weigh them, and multiply the hops."""
        del seed
        self.has_time = dataset.has_time
        forward = self._count_pairs(dataset)
        counts = sparse.csr_array(forward + self.backward * forward.T)
        if counts.nnz > MOST_PAIRS:
            counts = keep_largest(counts, MOST_KEPT)
        popularity = np.maximum(dataset.train_counts(), 1) ** -self.popularity_power
        damping = sparse.diags_array(popularity.astype(np.float32))
        one_hop = self._weights = sparse.csr_array(damping @ counts @ damping)
        step = _rows_to_one(counts)
        for _ in range(self.num_hops - 1):
            further = pruned_product(step, self._weights, MOST_KEPT)
            self._weights = sparse.csr_array(one_hop + self.hop_weight * further)

    def scores(self, histories: Histories, users: IntArray) -> FloatArray:
        """What follows the history, newer items counting more: [B, N]."""
        num_items = self._weights.shape[0]
        return dense_scores(history_matrix(histories, users, num_items, self.recency), self._weights)

    def _count_pairs(self, dataset: Dataset) -> sparse.csr_array:
        """float32 [N, N]: how often the column came after the row, `order_decay` per step in between."""
        users, items = dataset.train.users, dataset.train.items
        counts = sparse.csr_array((dataset.num_items, dataset.num_items), dtype=np.float32)
        for gap in range(1, min(WINDOW + 1, len(items))):
            first, second = items[:-gap], items[gap:]
            same = (users[:-gap] == users[gap:]) & (first != second)
            weights = np.full(int(same.sum()), self.order_decay ** (gap - 1), np.float32)
            counts = counts + sparse.csr_array((weights, (first[same], second[same])), shape=counts.shape)
        return sparse.csr_array(counts)


def _rows_to_one(counts: sparse.csr_array) -> sparse.csr_array:
    sums = np.maximum(counts.sum(axis=1), np.finfo(np.float32).tiny)
    return sparse.csr_array(sparse.diags_array((1.0 / sums).astype(np.float32)) @ counts)
