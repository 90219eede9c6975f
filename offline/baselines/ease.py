"""EASE: linear regression of every item on all others, in closed form (Steck 2019, arXiv 1905.03375)."""

from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse

from offline.baselines.matrices import BLOCK_BYTES, dense_scores, history_matrix, rows_per_block, train_matrix
from offline.baselines.peer import FloatArray, IntArray, RecencyPeer
from offline.dataset import Dataset, Histories

MOST_ITEMS = 20_000
"""The Gram matrix is dense, N² numbers, and inverted in N³ per regularisation: 1.6 GB and two minutes at this size."""


def needed_bytes(num_items: int) -> int:
    """Of memory, while validation chooses: the best weights so far and those that are being fitted, N² floats each."""
    square = 4 * num_items**2
    return 2 * square + 4 * min(BLOCK_BYTES, square)


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
        inverse = self._inverse(train_matrix(dataset))
        inverse /= -np.diag(inverse).copy()
        np.fill_diagonal(inverse, 0.0)
        self._weights = inverse

    def _inverse(self, interactions: sparse.csr_array) -> FloatArray:
        """`(XᵀX + λI)⁻¹`, in the place of the Gram matrix: no second matrix of its size."""
        num_items = interactions.shape[1]
        gram = np.empty((num_items, num_items), np.float32, order="F")  # LAPACK's order, else it works on a copy
        transposed, step = sparse.csr_array(interactions.T), rows_per_block(num_items)
        for start in range(0, num_items, step):
            gram[start : start + step] = (transposed[start : start + step] @ interactions).toarray()
        gram[np.diag_indices(num_items)] += np.float32(self.regularisation)
        lower = linalg.cholesky(gram, lower=True, overwrite_a=True, check_finite=False)
        inverse, problem = linalg.lapack.spotri(lower, lower=True, overwrite_c=True)
        assert problem == 0, problem  # λ > 0: the matrix is positive definite
        symmetric: FloatArray = inverse.T  # the same in numpy's order; what is below the diagonal is not set yet
        for start in range(0, num_items, step):
            end = start + step
            square = symmetric[start:end, start:end]
            square[:] = np.triu(square) + np.triu(square, 1).T
            symmetric[end:, start:end] = symmetric[start:end, end:].T
        return symmetric

    def scores(self, histories: Histories, users: IntArray) -> FloatArray:
        """History times weights: [B, N]."""
        return dense_scores(history_matrix(histories, users, len(self._weights), self.recency), self._weights)
