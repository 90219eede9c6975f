"""Text vectors for items that come with titles or categories but without features: hashed TF-IDF, then SVD (LSA).

No model to download and nothing to fit but one matrix, so the first run works on any machine. A dataset that has
`features/` is served by those instead. What was fitted is a `TextSpace`; a release keeps it, so that the texts of later
items get vectors in the same space.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.preprocessing import normalize
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


@dataclass(frozen=True, eq=False, kw_only=True)
class TextSpace:
    """What was learned of a catalogue's texts: turns any text into a vector of the same space.

    Attributes:
        idf: float32 [buckets of all kinds of n-grams], how much the rare ones count.
        columns: int32 [C], the buckets that the directions know.
        basis: float32 [C, dim], the directions.
    """

    idf: FloatArray
    columns: npt.NDArray[np.int32]
    basis: FloatArray

    def vectors(self, texts: Sequence[str]) -> FloatArray:
        """[N, dim]; a text without any character but white space is a row of NaN (missing)."""
        present = np.flatnonzero([bool(text.strip()) for text in texts])
        vectors = np.full((len(texts), self.basis.shape[1]), np.nan, dtype=np.float32)
        for start in range(0, len(present), _BLOCK_ROWS):
            rows = present[start : start + _BLOCK_ROWS]
            vectors[rows] = _weighed(_counts([texts[row] for row in rows]), self.idf)[:, self.columns] @ self.basis
        return vectors

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Names and arrays as a run and a release store them; `TextSpace.from_arrays` is the inverse."""
        return {"idf": self.idf, "columns": self.columns, "basis": self.basis}

    @staticmethod
    def from_arrays(named: Mapping[str, npt.NDArray[Any]]) -> "TextSpace":
        """Rebuild it.

        Raises:
            BadInputError: an array is missing, or they do not fit each other.
        """
        try:
            idf, columns, basis = named["idf"], named["columns"], named["basis"]
        except KeyError as error:
            raise BadInputError(f"the text space lacks its array {error}; train and publish again") from error
        known = 2 * _NUM_BUCKETS
        fits = basis.ndim == 2 and columns.shape == basis.shape[:1] and idf.shape == (known,)
        if not fits or (len(columns) and not 0 <= columns.min() <= columns.max() < known):
            raise BadInputError(
                f"the text space has idf {idf.shape}, columns {columns.shape} and basis {basis.shape}, which do not "
                f"fit each other and {known} buckets; train and publish again"
            )
        return TextSpace(idf=idf, columns=columns, basis=basis)


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
    if not any(text.strip() for text in texts):
        return np.full((len(texts), 1), np.nan, dtype=np.float32)
    return fit_text_space(texts, dim=dim, seed=seed).vectors(texts)


def fit_text_space(texts: Sequence[str], *, dim: int, seed: int) -> TextSpace:
    """Learns the TF-IDF weights and the directions that explain most; arguments as of `text_vectors`.

    At least one of the texts must have a character that is no white space.
    """
    present = np.flatnonzero([bool(text.strip()) for text in texts])
    counts = _counts([texts[row] for row in _sample(present, seed)])
    kinds = (counts[:, :_NUM_BUCKETS], counts[:, _NUM_BUCKETS:])
    idf = np.concatenate([TfidfTransformer(sublinear_tf=True).fit(kind).idf_ for kind in kinds]).astype(np.float32)
    matrix = _weighed(counts, idf)
    used = np.flatnonzero(matrix.getnnz(axis=0))  # the SVD draws a dense random row per column: leave out empty ones
    # TruncatedSVD without its explained variance, which divides by zero when all texts are equal.
    _, sizes, directions = randomized_svd(matrix[:, used], min(dim, *matrix.shape, len(used)), random_state=seed)
    rank = max(1, int((sizes > _RANK_TOLERANCE * sizes[0]).sum()))
    return TextSpace(idf=idf, columns=used.astype(np.int32), basis=np.ascontiguousarray(directions[:rank].T))


def dataset_text_space(dataset: Dataset, dim: int, seed: int) -> TextSpace:
    """Learns the space of a dataset's titles and categories, for one that has no features of its own.

    Args:
        dataset: any dataset.
        dim: the most columns wanted, at least 1.
        seed: where the random numbers of the SVD start.

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
    return fit_text_space(texts, dim=dim, seed=seed)


def _sample(rows: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    if len(rows) <= _BLOCK_ROWS:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, _BLOCK_ROWS, replace=False))


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


def _counts(texts: list[str]) -> sp.csr_matrix:
    """How often each text has which n-gram: [N, 2 * _NUM_BUCKETS]."""
    return sp.hstack([hasher.transform(texts) for hasher in _hashers()], format="csr", dtype=np.float32)


def _weighed(counts: sp.csr_matrix, idf: FloatArray) -> sp.csr_matrix:
    """TF-IDF of n-grams. Each kind has unit norm per row, so that neither drowns the other."""
    parts = []
    for kind in range(2):
        columns = slice(kind * _NUM_BUCKETS, (kind + 1) * _NUM_BUCKETS)
        part = counts[:, columns].tocsr()
        part.data = (1 + np.log(part.data)) * idf[columns][part.indices]
        parts.append(normalize(part, copy=False))
    return sp.hstack(parts, format="csr", dtype=np.float32)
