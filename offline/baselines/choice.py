"""Choosing a peer's settings on validation: one setting after another, the best values so far kept."""

import math
from dataclasses import replace
from typing import Any, NamedTuple

from offline import progress
from offline.baselines.peer import Peer
from offline.baselines.ranking import validation_quality
from offline.baselines.registry import Entry
from offline.dataset import Dataset, held_out_users
from offline.processes import current


class Chosen(NamedTuple):
    """A fitted peer, and recall@20 + ndcg@20 on validation that it was chosen by; None where nothing was to choose."""

    peer: Peer
    quality: float | None


class Judged(NamedTuple):
    """A fitted peer and its recall@20 + ndcg@20 on validation."""

    peer: Peer
    quality: float


def choose(name: str, entry: Entry, dataset: Dataset, *, seed: int) -> Chosen:
    """Fit the peer of an entry with the settings that do best on validation; ties go to what was tried first.

    Without validation users, or with nothing to choose, the entry's own settings are fitted once.

    Raises:
        FloatingPointError: the loss or the scores of a peer are not finite.
    """
    peer = entry.peer()
    peer.fit(dataset, seed=seed)
    choices = sum(len(values) - 1 for values in entry.grid.values()) + sum(map(len, entry.further.values()))
    if not len(held_out_users(dataset, "valid")) or (not choices and len(peer.variants()) == 1):
        return Chosen(peer, None)
    best = _best_variant(peer, dataset)
    del peer  # the first fit is let go as soon as another is better
    with progress.task(f"settings of {name}", choices) as task:
        for setting, values in entry.grid.items():
            last, further = values[0], entry.further.get(setting, ())  # the first value is the peer's own
            for value in (*values[1:], *further):
                if value in values or getattr(best.peer, setting) == last:
                    best, last = _better(best, setting, value, dataset, seed), value
                task.advance(f"best {best.quality:.4f}")
    return Chosen(*best)


def _better(best: Judged, setting: str, value: Any, dataset: Dataset, seed: int) -> Judged:
    """The best so far or the same with another value; what is not better is let go, for EASE's weights are large."""
    trial = replace(best.peer, **{setting: value})  # type: ignore[type-var]
    trial.fit(dataset, seed=seed)
    found = _best_variant(trial, dataset)
    return found if found.quality > best.quality else best


def _best_variant(peer: Peer, dataset: Dataset) -> Judged:
    best, quality = peer, -math.inf
    for variant in peer.variants():
        found = current().agree(validation_quality(variant, dataset))
        if found > quality:
            best, quality = variant, found
    return Judged(best, quality)
