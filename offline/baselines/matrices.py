"""Interactions and histories as sparse matrices, and products of them whose memory is bounded."""

import numpy as np
import numpy.typing as npt
from scipy import sparse

from offline.baselines.peer import FloatArray, IntArray
from offline.dataset import Dataset, Histories

BLOCK_BYTES = 128 * 2**20
"""What one dense block of item rows may take."""


def train_matrix(dataset: Dataset) -> sparse.csr_array:
    """The distinct training interactions, float32 [U, N], 1 where the user had the item."""
    pairs = np.unique(dataset.train.users * dataset.num_items + dataset.train.items)
    users, items = np.divmod(pairs, dataset.num_items)
    ones = np.ones(len(pairs), np.float32)
    return sparse.csr_array((ones, (users, items)), shape=(dataset.num_users, dataset.num_items))


def history_matrix(histories: Histories, users: IntArray, num_items: int, recency: float) -> sparse.csr_array:
    """Histories of users [B], float32 [B, num_items]: `recency ** steps back from the newest` where the user has it."""
    lengths = (histories.offsets[users + 1] - histories.offsets[users]).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)  # 0 = oldest
    items = histories.items[np.repeat(histories.offsets[users], lengths) + place]
    steps_back = np.repeat(lengths, lengths) - 1 - place
    weights = np.float32(recency) ** steps_back.astype(np.float32)
    return sparse.csr_array((weights, items, offsets), shape=(len(users), num_items))


def keep_largest(rows: sparse.csr_array, num_kept: int) -> sparse.csr_array:
    """The largest `num_kept` positive entries of each row; entries equal to the last one kept stay too."""
    for row in np.flatnonzero(np.diff(rows.indptr) > num_kept):
        values = rows.data[rows.indptr[row] : rows.indptr[row + 1]]  # a view
        values[values < np.partition(values, len(values) - num_kept)[len(values) - num_kept]] = 0.0
    rows.data[rows.data < 0.0] = 0.0
    rows.eliminate_zeros()
    return rows


def rows_per_block(num_items: int) -> int:
    """How many rows of `num_items` float32 fit `BLOCK_BYTES` when every entry is there."""
    return max(1, BLOCK_BYTES // (4 * num_items))


def pruned_product(left: sparse.csr_array, right: sparse.csr_array, num_kept: int) -> sparse.csr_array:
    """`left @ right` with the largest `num_kept` entries of each row, computed block by block."""
    step = rows_per_block(right.shape[1])
    blocks = [
        keep_largest(sparse.csr_array(left[start : start + step] @ right), num_kept)
        for start in range(0, left.shape[0], step)
    ]
    return sparse.csr_array(sparse.vstack(blocks, format="csr"))


def dense_scores(histories: sparse.csr_array, weights: sparse.csr_array | npt.NDArray[np.float32]) -> FloatArray:
    """Sums of rows of `weights` [N, N] by the weights of histories [B, N]: dense [B, N]."""
    product = histories @ weights
    dense = product.toarray() if sparse.issparse(product) else product
    return np.asarray(dense, np.float32)
