"""Batches for the graph encoder: histories, the items that go with them, the items they are compared with."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.collaborative import Candidates, Targets
from offline.dataset import Histories
from offline.processes import share

Int64Array = npt.NDArray[np.int64]


class SetBatch(NamedTuple):
    """Whole sets, each both history and target, as the graph has them.

    Attributes:
        items: int64 [M], the sets one after the other.
        starts: int64 [B], where each starts.
        targets: of the states [B, D].
        candidates: what the softmax runs over.
        negatives: int64, another candidate for each target, with BPR only.
    """

    items: Tensor
    starts: Tensor
    targets: Targets
    candidates: Candidates
    negatives: Tensor | None = None


class SequenceBatch(NamedTuple):
    """Sequences, of which every prefix has the item behind it as its target.

    Attributes:
        items: int64 [B, L], oldest first, the last item left out; 0 behind a sequence's end.
        prefixes: int64 [P], which of the B · L prefixes have an item behind them.
        targets: of the states of those, [P, D].
        candidates: what the softmax runs over.
        negatives: int64, another candidate for each target, with BPR only.
    """

    items: Tensor
    prefixes: Tensor
    targets: Targets
    candidates: Candidates
    negatives: Tensor | None = None


CollaborativeBatch = SetBatch | SequenceBatch


class CollaborativeBatches:
    """Endless batches of users in random order, every user once per round.

    Args:
        histories: training items per user, oldest first.
        num_items: of the catalogue.
        ordered: sequences or sets.
        batch_users: B.
        max_history: longest L; of longer sequences the most recent items are kept.
        max_candidates: a larger catalogue is sampled; the items of the batch are always among the candidates.
        seed: of the sampling.
        with_negatives: whether every target gets another candidate to be compared with.
    """

    def __init__(
        self,
        histories: Histories,
        *,
        num_items: int,
        ordered: bool,
        batch_users: int,
        max_history: int,
        max_candidates: int,
        seed: int,
        with_negatives: bool = False,
    ) -> None:
        self._histories = histories
        self._num_items = num_items
        self._ordered = ordered
        self._batch_users = batch_users
        self._max_history = max_history
        self._max_candidates = max_candidates
        self._with_negatives = with_negatives
        self._random = np.random.default_rng(seed)
        # A sequence of one item has no item behind it.
        self._users = np.flatnonzero(np.diff(histories.offsets) > int(ordered))

    @property
    def per_round(self) -> int:
        """Batches in which every user has their turn."""
        return -(-len(self._users) // self._batch_users)

    def __iter__(self) -> Iterator[CollaborativeBatch]:
        while len(self._users):
            order = self._random.permutation(self._users)
            for start in range(0, len(order), self._batch_users):
                parts = [self._histories.of(int(user)) for user in order[start : start + self._batch_users]]
                yield self._sequences(parts) if self._ordered else self._sets(parts)

    def _sets(self, parts: list[Int64Array]) -> SetBatch:
        sizes = np.array([len(items) for items in parts])
        items, owners = np.concatenate(parts), np.repeat(np.arange(len(parts)), sizes)
        starts = torch.from_numpy(np.cumsum(sizes) - sizes)
        candidates, places = self._candidates(items)
        targets = Targets(torch.from_numpy(owners), places)
        return SetBatch(torch.from_numpy(items), starts, targets, candidates, self._negatives(targets, candidates))

    def _sequences(self, parts: list[Int64Array]) -> SequenceBatch:
        parts = [items[-self._max_history - 1 :] for items in parts]
        padded = np.full((len(parts), max(map(len, parts))), -1, np.int64)
        for row, items in enumerate(parts):
            padded[row, : len(items)] = items
        behind = padded[:, 1:]
        prefixes = torch.from_numpy(np.flatnonzero(behind >= 0))
        candidates, places = self._candidates(behind[behind >= 0])
        known = torch.from_numpy(padded[:, :-1].clip(min=0))
        targets = Targets(torch.arange(len(prefixes)), places)
        return SequenceBatch(known, prefixes, targets, candidates, self._negatives(targets, candidates))

    def _negatives(self, targets: Targets, candidates: Candidates) -> Tensor | None:
        if not self._with_negatives:
            return None
        drawn = self._random.integers(len(candidates.rows), size=len(targets.candidates))
        return torch.from_numpy(drawn)

    def _candidates(self, targets: Int64Array) -> tuple[Candidates, Tensor]:
        """The candidates and where each target stands among them."""
        if self._num_items <= self._max_candidates:
            return Candidates(torch.arange(self._num_items), torch.zeros(self._num_items)), torch.from_numpy(targets)
        wanted, places = np.unique(targets, return_inverse=True)
        drawn = self._random.integers(self._num_items, size=self._max_candidates)
        drawn = drawn[~np.isin(drawn, wanted)]
        stands_for = np.log(max(self._num_items - len(wanted), 1) / max(len(drawn), 1))
        correction = np.concatenate([np.zeros(len(wanted)), np.full(len(drawn), stands_for)])
        rows = torch.from_numpy(np.concatenate([wanted, drawn]))
        logarithms = torch.from_numpy(correction).to(torch.get_default_dtype())
        return Candidates(rows, logarithms), torch.from_numpy(places.reshape(-1))


class Part(NamedTuple):
    """Some users of a batch.

    Attributes:
        batch: theirs.
        weight: their share of the batch's targets: the batch's loss is the sum of its parts', each weighted so.
    """

    batch: CollaborativeBatch
    weight: float


def part_of(batch: CollaborativeBatch, part: int, num_parts: int) -> Part:
    """One of the parts that a batch is cut into; where there are fewer users than parts, some have a weight of 0."""
    if num_parts == 1:
        return Part(batch, 1.0)
    num_users = len(batch.starts) if isinstance(batch, SetBatch) else len(batch.items)
    users = share(num_users, part, num_parts)
    is_empty = users.start == users.stop
    if is_empty:  # whoever has nothing to do computes for nothing, so that everybody does the same
        users = slice(0, 1)
    found = _some_sets(batch, users) if isinstance(batch, SetBatch) else _some_sequences(batch, users)
    weight = 0.0 if is_empty else len(found.targets.histories) / len(batch.targets.histories)
    return Part(found, weight)


def _some_sets(batch: SetBatch, users: slice) -> SetBatch:
    bounds = torch.cat([batch.starts, torch.tensor([len(batch.items)])])
    items = slice(int(bounds[users.start]), int(bounds[users.stop]))
    targets = Targets(batch.targets.histories[items] - users.start, batch.targets.candidates[items])
    negatives = None if batch.negatives is None else batch.negatives[items]
    return SetBatch(batch.items[items], batch.starts[users] - items.start, targets, batch.candidates, negatives)


def _some_sequences(batch: SequenceBatch, users: slice) -> SequenceBatch:
    length = batch.items.shape[1]
    owners = batch.prefixes // length
    kept = (owners >= users.start) & (owners < users.stop)
    prefixes = batch.prefixes[kept] - users.start * length
    targets = Targets(torch.arange(len(prefixes)), batch.targets.candidates[kept])
    negatives = None if batch.negatives is None else batch.negatives[kept]
    return SequenceBatch(batch.items[users], prefixes, targets, batch.candidates, negatives)


def among_its_items(batch: CollaborativeBatch) -> tuple[CollaborativeBatch, Tensor]:
    """The batch with positions in place of item rows, and the rows int64 [R], ascending, that these stand for."""
    asked = torch.cat([batch.items.flatten(), batch.candidates.rows])
    rows, places = asked.unique(return_inverse=True)
    items, candidates = places.split([batch.items.numel(), len(batch.candidates.rows)])
    return batch._replace(items=items.view_as(batch.items), candidates=batch.candidates._replace(rows=candidates)), rows
