"""Text vectors for items that come with titles or categories but without features: hashed TF-IDF, then SVD (LSA).

No model to download and nothing to fit but one matrix, so the first run works on any machine. A dataset that has
`features/` is served by those instead.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.utils.extmath import randomized_svd

from offline.dataset import Dataset
from offline.errors import BadInputError

FloatArray = npt.NDArray[np.float32]

_NUM_BUCKETS: Final = 2**16  # per kind of n-gram
_BLOCK_ROWS: Final = 50_000  # the SVD sees at most this many texts, and no more are in memory as n-grams at a time
_RANK_TOLERANCE: Final = 1e-5  # singular values below this share of the largest are rounding (float32)


def item_texts(titles: Sequence[str], categories: Sequence[Sequence[str]]) -> list[str]:
    """Joins each item's title and categories into the one text that describes it.

    Args:
        titles: one per item, "" where absent.
        categories: those of each item, empty where absent.

    Returns:
        One text per item, "" where it has neither.

    Raises:
        ValueError: the two differ in length.
    """
    return [" ".join([title, *names]).strip() for title, names in zip(titles, categories, strict=True)]


def text_vectors(texts: Sequence[str], *, dim: int, seed: int) -> FloatArray:
    """Turns texts into vectors whose cosine follows shared words and spelling.

    The same texts and seed give the same vectors on one machine, and equal texts give equal rows. Columns are ordered
    by how much they explain, and their scales say how much. The training does not keep these: `model.modality_fusion`
    standardises every column, so the last column speaks as loud as the first. Ask for no more columns than are wanted.

    Args:
        texts: N texts in any language.
        dim: the most columns wanted, at least 1.
        seed: where the random numbers of the SVD start.

    Returns:
        [N, min(dim, rank of the TF-IDF matrix)], at least one column. A text without any character but white space
        is a row of NaN (missing).

    Raises:
        ValueError: `dim` is less than 1.
    """
    if dim < 1:
        raise ValueError(f"dim={dim}: ask for at least 1 column")
    present = np.flatnonzero([bool(text.strip()) for text in texts])
    if not len(present):
        return np.full((len(texts), 1), np.nan, dtype=np.float32)
    counters, basis = _fit([texts[row] for row in _sample(present, seed)], dim, seed)
    vectors = np.full((len(texts), basis.shape[1]), np.nan, dtype=np.float32)
    for start in range(0, len(present), _BLOCK_ROWS):
        rows = present[start : start + _BLOCK_ROWS]
        vectors[rows] = _tf_idf([texts[row] for row in rows], counters) @ basis
    return vectors


def dataset_text_features(dataset: Dataset, dim: int, seed: int) -> FloatArray:
    """Makes text vectors from a dataset's titles and categories, for one that has no features of its own.

    Args:
        dataset: any dataset.
        dim: the most columns wanted, at least 1.
        seed: where the random numbers of the SVD start.

    Returns:
        [num_items, at most dim]; a row of NaN where an item has neither title nor category.

    Raises:
        BadInputError: no item has either.
    """
    texts = item_texts(dataset.titles, dataset.categories)
    if not any(text.strip() for text in texts):
        raise BadInputError(
            f"dataset '{dataset.name}': items.parquet gives no title and no category for any of {dataset.num_items} "
            "items, so there is nothing to make text vectors from; add features/<modality>.npy, or a 'title' or "
            "'categories' column to items.parquet"
        )
    return text_vectors(texts, dim=dim, seed=seed)


# A kind of n-gram and how much its rare ones count.
_Counters = list[tuple[HashingVectorizer, TfidfTransformer]]


def _sample(rows: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    if len(rows) <= _BLOCK_ROWS:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, _BLOCK_ROWS, replace=False))


def _fit(texts: list[str], dim: int, seed: int) -> tuple[_Counters, FloatArray]:
    """Learns the TF-IDF weights and the directions that explain most: [2 * _NUM_BUCKETS, at most dim]."""
    counters = [(counter, TfidfTransformer(sublinear_tf=True).fit(counter.transform(texts))) for counter in _hashers()]
    matrix = _tf_idf(texts, counters)
    used = np.flatnonzero(matrix.getnnz(axis=0))  # the SVD draws a dense random row per column: leave out empty ones
    # TruncatedSVD without its explained variance, which divides by zero when all texts are equal.
    _, sizes, directions = randomized_svd(matrix[:, used], min(dim, len(texts), len(used)), random_state=seed)
    rank = max(1, int((sizes > _RANK_TOLERANCE * sizes[0]).sum()))
    basis = np.zeros((matrix.shape[1], rank), dtype=np.float32)
    basis[used] = directions[:rank].T
    return counters, basis


def _hashers() -> list[HashingVectorizer]:
    """Words and pairs of words for meaning; pieces of words for spelling, endings and unspaced scripts."""
    kinds = (
        {"analyzer": "word", "token_pattern": r"(?u)\b\w+\b", "ngram_range": (1, 2)},
        {"analyzer": "char_wb", "ngram_range": (3, 4)},
    )
    return [
        HashingVectorizer(n_features=_NUM_BUCKETS, alternate_sign=False, norm=None, dtype=np.float32, **kind)
        for kind in kinds
    ]


def _tf_idf(texts: list[str], counters: _Counters) -> sp.csr_matrix:
    """Weighs n-grams: [N, 2 * _NUM_BUCKETS]. Each kind has unit norm per row, so that neither drowns the other."""
    parts = [weights.transform(counter.transform(texts)) for counter, weights in counters]
    return sp.hstack(parts, format="csr", dtype=np.float32)
