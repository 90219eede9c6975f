"""EASE: linear regression of every item on all others, in closed form (Steck 2019, arXiv 1905.03375)."""

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from offline.baselines.matrices import dense_scores, history_matrix, train_matrix
from offline.baselines.peer import FloatArray, IntArray, RecencyPeer
from offline.dataset import Dataset, Histories

MOST_ITEMS = 20_000
"""The Gram matrix is dense, N² numbers, and inverted in N³: 1.6 GB and two minutes at this size."""


@dataclass(kw_only=True)
class Ease(RecencyPeer):
    """Item weights [N, N] with an empty diagonal.

    Attributes:
        regularisation: λ of the paper, added to the diagonal of the Gram matrix.
        recency: see `RecencyPeer`; the input is weighted, the weights are learned from sets as in the paper.
    """

    regularisation: float = 100.0
    recency: float = 1.0

    def fit(self, dataset: Dataset, *, seed: int) -> None:
        """`B = I - P diag(1 / diag(P))` with `P = (XᵀX + λI)⁻¹` (the paper, equation 8)."""
        del seed
        self.has_time = dataset.has_time
        interactions = train_matrix(dataset)
        gram = (interactions.T @ interactions).toarray()
        gram[np.diag_indices(dataset.num_items)] += np.float32(self.regularisation)
        lower = linalg.cholesky(gram, lower=True, overwrite_a=True, check_finite=False)
        inverse, problem = linalg.lapack.spotri(lower, lower=True, overwrite_c=True)
        assert problem == 0, problem  # λ > 0: the matrix is positive definite
        inverse = np.tril(inverse)
        inverse += np.tril(inverse, -1).T
        weights = inverse / -np.diag(inverse)
        np.fill_diagonal(weights, 0.0)
        self._weights = np.asarray(weights, np.float32)

    def scores(self, histories: Histories, users: IntArray) -> FloatArray:
        """History times weights: [B, N]."""
        return dense_scores(history_matrix(histories, users, len(self._weights), self.recency), self._weights)
