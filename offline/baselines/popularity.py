"""The most interacted items for everyone: what any recommender has to beat."""

from dataclasses import dataclass

import numpy as np

from offline.baselines.peer import FloatArray, IntArray, Peer
from offline.dataset import Dataset, Histories


@dataclass(kw_only=True)
class Popularity(Peer):
    """Log of each item's share of the training interactions; one is added to every count, so that all are finite."""

    gives_log_probs = True

    def fit(self, dataset: Dataset, *, seed: int) -> None:
        """Count."""
        del seed
        counts = dataset.train_counts() + 1.0
        self._log_shares = np.log(counts / counts.sum()).astype(np.float32)

    def scores(self, histories: Histories, users: IntArray) -> FloatArray:
        """The same for every user: [B, N]."""
        del histories
        return np.repeat(self._log_shares[None], len(users), axis=0)
