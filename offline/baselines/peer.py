"""What every peer is: something that is fitted on a dataset and scores all items for a batch of users.

Letters, here and in every file of this folder: B = users of a batch, N = items, H = items of a history.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from offline.dataset import Dataset, Histories

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]

RECENCIES = (1.0, 0.9, 0.7, 0.5, 0.3)
"""Weights of an item per step back in the history, from which validation chooses where the dataset has time."""


class Peer(ABC):
    """A recommender with its settings. Each is a dataclass whose fields are the settings; state is set by `fit`.

    A peer learns from `dataset.train` alone (and may read `dataset.valid` to decide when to stop). It never leaves
    anything out of its scores: histories are left out in one place, `offline.baselines.ranking`.
    """

    gives_log_probs: ClassVar[bool] = False
    """Whether `scores` are log-probabilities over all items, so that their calibration means something."""

    @abstractmethod
    def fit(self, dataset: Dataset, *, seed: int) -> None:
        """Learn from the training interactions; the same seed gives the same peer on the same machine."""

    @abstractmethod
    def scores(self, histories: Histories, users: IntArray) -> FloatArray:
        """How much each user wants each item, highest first; a user's scores do not depend on the rest of the batch.

        Args:
            histories: what is known of every user row, oldest first.
            users: user rows [B].

        Returns:
            [B, N], finite.
        """

    def variants(self) -> Sequence[Self]:
        """This fitted peer with every setting that needs no new fit; validation chooses among them."""
        return (self,)

    def settings(self) -> dict[str, Any]:
        """The settings by name, as they are reported."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]


class RecencyPeer(Peer):
    """A peer that adds up what it knows of each item of the history, newer ones counting more.

    Attributes:
        recency: weight of an item per step back from the newest, in (0, 1]; 1 = a history is a set.
    """

    recency: float
    has_time: bool = False

    def variants(self) -> Sequence[Self]:
        """Every recency where the dataset has time; order means nothing without."""
        if not self.has_time:
            return (self,)
        found = []
        for recency in RECENCIES:
            variant = copy.copy(self)
            variant.recency = recency
            found.append(variant)
        return found
