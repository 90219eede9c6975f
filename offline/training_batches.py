"""Batches for the generator: a user's training items, parted into a history and held-out targets.

The target is never inside the encoder's history (design, section 4). A history is a random subset where the data has
no time, a prefix of the sequence where it has.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from offline.dataset import Histories

Int64Array = npt.NDArray[np.int64]
POOL_BATCHES = 8
"""Batches drawn together and cut by history length: users of like length share a batch, so little of it is padding."""


class Batch(NamedTuple):
    """One step's users.

    Attributes:
        users: int64 [B].
        history: int64 [B, H], item rows newest first, -1 = empty slot.
        targets: int64 [B, T], held-out item rows, -1 where a user has fewer.
        draws: float64 [B, teacher targets], in [0, 1): what decides which items the teacher draws.
    """

    users: Int64Array
    history: Int64Array
    targets: Int64Array
    draws: npt.NDArray[np.float64]

    def of(self, rows: slice) -> "Batch":
        """Some of the users."""
        return Batch(self.users[rows], self.history[rows], self.targets[rows], self.draws[rows])


class BatchSampler:
    """Endless batches over the users that have training items, every user once per round.

    Args:
        histories: training items of every user, oldest first, none twice (`Dataset.histories`): so parting them in two
            can put no item on both sides.
        ordered: whether order matters.
        batch_users: B.
        max_history: largest H.
        num_targets: T.
        seed: of the sampling.
        num_teacher_targets: draws for every user.
    """

    def __init__(
        self,
        histories: Histories,
        *,
        ordered: bool,
        batch_users: int,
        max_history: int,
        num_targets: int,
        seed: int,
        num_teacher_targets: int = 0,
    ) -> None:
        self._histories = histories
        self._ordered = ordered
        self._batch_users = batch_users
        self._max_history = max_history
        self._num_targets = num_targets
        self._num_teacher_targets = num_teacher_targets
        self._random = np.random.default_rng(seed)
        self._draws = np.random.default_rng((seed, 1))  # of their own: how many there are changes no batch
        self._users = np.flatnonzero(np.diff(histories.offsets))

    def __iter__(self) -> Iterator[Batch]:
        counts = np.diff(self._histories.offsets)
        while True:
            order = self._random.permutation(self._users)
            for start in range(0, len(order), POOL_BATCHES * self._batch_users):
                pool = order[start : start + POOL_BATCHES * self._batch_users]
                pool = pool[np.argsort(counts[pool], kind="stable")]
                for place in self._random.permutation(-(-len(pool) // self._batch_users)):
                    yield self._batch(pool[place * self._batch_users : (place + 1) * self._batch_users])

    def _batch(self, users: Int64Array) -> Batch:
        parts = [self._part(self._histories.of(int(user))) for user in users]
        history = np.full((len(users), max(len(kept) for kept, _ in parts)), -1, np.int64)
        targets = np.full((len(users), self._num_targets), -1, np.int64)
        for row, (kept, held_out) in enumerate(parts):
            history[row, : len(kept)] = kept
            targets[row, : len(held_out)] = held_out
        return Batch(users, history, targets, self._draws.random((len(users), self._num_teacher_targets)))

    def _part(self, items: Int64Array) -> tuple[Int64Array, Int64Array]:
        """History, newest first, and targets of one user."""
        if self._ordered:
            cut = int(self._random.integers(1, len(items))) if len(items) > 1 else 0
        else:
            items = self._random.permutation(items)
            # Half to all but one: at serving time a history is whole.
            cut = int(self._random.integers(len(items) // 2, len(items)))
        return items[:cut][::-1][: self._max_history], items[cut:][: self._num_targets]
