"""Choosing a peer's settings on validation: one setting after another, the best values so far kept."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from offline import progress
from offline.baselines.peer import Peer
from offline.baselines.ranking import validation_quality
from offline.baselines.registry import Entry
from offline.dataset import Dataset, held_out_users


class Chosen(NamedTuple):
    """A fitted peer, and recall@20 + ndcg@20 on validation that it was chosen by; None where nothing was to choose."""

    peer: Peer
    quality: float | None


def choose(name: str, entry: Entry, dataset: Dataset, *, seed: int) -> Chosen:
    """Fit the peer of an entry with the settings that do best on validation; ties go to what was tried first.

    Without validation users, or with nothing to choose, the entry's own settings are fitted once.

    Raises:
        FloatingPointError: the loss or the scores of a peer are not finite.
    """
    peer = entry.peer()
    peer.fit(dataset, seed=seed)
    choices = sum(len(values) - 1 for values in entry.grid.values())
    if not len(held_out_users(dataset, "valid")) or (not choices and len(peer.variants()) == 1):
        return Chosen(peer, None)
    best, quality = _best_variant(peer, dataset)
    with progress.task(f"settings of {name}", choices) as task:
        for setting, values in entry.grid.items():
            for trial in _others(best, setting, values):
                trial.fit(dataset, seed=seed)
                found = _best_variant(trial, dataset)
                if found[1] > quality:
                    best, quality = found
                del trial, found  # of two fitted peers at most one more is kept: EASE's weights are large
                task.advance(f"best {quality:.4f}")
    return Chosen(best, quality)


def _others(best: Peer, setting: str, values: Sequence[Any]) -> Iterator[Peer]:
    for value in values:
        if value != getattr(best, setting):
            yield replace(best, **{setting: value})  # type: ignore[type-var]


def _best_variant(peer: Peer, dataset: Dataset) -> tuple[Peer, float]:
    best, quality = peer, -math.inf
    for variant in peer.variants():
        found = validation_quality(variant, dataset)
        if found > quality:
            best, quality = variant, found
    return best, quality
