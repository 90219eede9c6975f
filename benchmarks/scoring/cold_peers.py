"""What simple peers would do with items that appear after training: their content's neighbours, and popularity."""

import numpy as np
import numpy.typing as npt

from offline.dataset import Dataset, Histories

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


class ContentKnn:
    """Mean cosine of an item's content and that of the history's items.

    Every modality is standardised column by column over the items that training knew, cut at five deviations and
    brought to unit length; cosines are the mean of the modalities that both items have.

    Args:
        dataset: with features.
        known: bool [num_items], the items that the scales are measured on.
    """

    def __init__(self, dataset: Dataset, known: npt.NDArray[np.bool_]) -> None:
        parts = [_unit(values, known) for values in dataset.features.values()]
        self._vectors = np.concatenate(parts, axis=1) / np.float32(max(1, len(parts)) ** 0.5)

    def scores(self, histories: Histories, users: IntArray) -> FloatArray:
        """[U, num_items]."""
        means = np.stack([self._vectors[histories.of(int(user))].mean(axis=0) for user in users])
        return np.asarray(means @ self._vectors.T, np.float32)


def _unit(values: FloatArray, known: npt.NDArray[np.bool_]) -> FloatArray:
    mean, deviation = np.nanmean(values[known], axis=0), np.nanstd(values[known], axis=0)
    scaled = np.nan_to_num((values - mean) / np.where(deviation > 1e-6, deviation, np.inf)).clip(-5, 5)
    length = np.linalg.norm(scaled, axis=1, keepdims=True)
    return np.asarray(scaled / np.maximum(length, 1e-12), np.float32)
