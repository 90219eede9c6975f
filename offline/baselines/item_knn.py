"""Item-kNN: items that the same users had (Sarwar et al. 2001; asymmetric cosine of Aiolli 2013)."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from offline.baselines.matrices import dense_scores, history_matrix, keep_largest, rows_per_block, train_matrix
from offline.baselines.peer import FloatArray, IntArray, RecencyPeer
from offline.dataset import Dataset, Histories


@dataclass(kw_only=True)
class ItemKnn(RecencyPeer):
    """Similarity of two items: `Σ_users n_u^-damping / (n_i^(1 - asymmetry) · n_j^asymmetry + shrinkage)`.

    Attributes:
        num_neighbours: most similar items kept per item.
        user_damping: how much less a user with many items says (0 = plain cosine, 1 = one vote a user).
        asymmetry: share of the candidate's own popularity in the norm; below .5 popular items gain.
        shrinkage: pulls similarities that few users support towards 0.
        recency: see `RecencyPeer`.
    """

    num_neighbours: int = 1000
    user_damping: float = 1.0
    asymmetry: float = 0.5
    shrinkage: float = 0.0
    recency: float = 1.0

    def fit(self, dataset: Dataset, *, seed: int) -> None:
        """Count who had both, block by block."""
        del seed
        self.has_time = dataset.has_time
        interactions = train_matrix(dataset)
        votes = np.maximum(interactions.sum(axis=1), 1.0) ** -self.user_damping
        item_rows = sparse.csr_array((sparse.diags_array(votes.astype(np.float32)) @ interactions).T)
        counts = np.maximum(np.asarray(interactions.sum(axis=0)), 1.0)
        step, blocks = rows_per_block(dataset.num_items), []
        for start in range(0, dataset.num_items, step):
            both = sparse.csr_array(item_rows[start : start + step] @ interactions)
            rows = start + np.repeat(np.arange(both.shape[0]), np.diff(both.indptr))
            norms = counts[rows] ** (1 - self.asymmetry) * counts[both.indices] ** self.asymmetry + self.shrinkage
            both.data = np.where(rows == both.indices, 0.0, both.data / norms).astype(np.float32)
            blocks.append(keep_largest(both, self.num_neighbours))
        self._similarity = sparse.csr_array(sparse.vstack(blocks, format="csr"))

    def scores(self, histories: Histories, users: IntArray) -> FloatArray:
        """Similarity to the history, added up: [B, N]."""
        num_items = self._similarity.shape[0]
        return dense_scores(history_matrix(histories, users, num_items, self.recency), self._similarity)
