"""Who had the new items already, told by the rest of their histories (MMGRec's collaborative side, without a graph).

A key lies where the history states of those who want the item lie (model.collaborative trains it so). So a few users
say of a new item what its content cannot.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from offline.catalogue_changes.base_release import BaseRelease
from offline.dataset_checks import INTERACTIONS_FILE, read_interactions
from offline.errors import BadInputError
from offline.splits import SPLITS, first_of_each_pair

IntArray = npt.NDArray[np.int64]

_BLOCK: int = 4096  # histories in memory at a time


class ItemUsers(NamedTuple):
    """What users say of M new items.

    Attributes:
        states: [M, D], mean of the users' unit history states; zeros where nobody with a history had the item.
        num_states: int64 [M], how many users that is the mean of.
        counts: int64 [M], interactions, as the training counts of an item.
    """

    states: Tensor
    num_states: IntArray
    counts: IntArray


def read_item_users(
    data: Path, base: BaseRelease, new_ids: tuple[str, ...], contexts: Tensor, recency: Tensor
) -> ItemUsers:
    """Read the interactions of the new items, and the histories of whoever had them.

    Where the file has a split, the rows of train alone count, so that what is held out stays so.

    Args:
        data: folder with interactions.parquet; every item in it is in the release or among the new ones.
        base: the release.
        new_ids: the M new items.
        contexts: [N, D] of the release's items.
        recency: [H] weights of a history's items, newest first.

    Raises:
        BadInputError: the file is not as it must be, or has no time although the release was trained with it.
    """
    path, num_known = data / INTERACTIONS_FILE, len(base.items)
    log = read_interactions(path, pl.Series([*base.items.item_ids, *new_ids], dtype=pl.String))
    ordered = base.manifest.model.ordered_history
    if ordered and not log.has_time:
        raise BadInputError(
            f"{path}: has no timestamps that order anything, and release {base.version} was trained with the order of "
            "interactions; write the time of each, or leave out --interactions"
        )
    rows = log.rows.filter(pl.col("split") == SPLITS.index("train")) if log.has_split else log.rows
    rows = rows.filter(pl.col("user").is_in(rows.filter(pl.col("item") >= num_known)["user"].unique().implode()))
    users, items = (rows[name].to_numpy().astype(np.int64) for name in ("user", "item"))
    kept = first_of_each_pair(users, items)
    users, items = users[kept], items[kept]
    counts = np.bincount(items[items >= num_known] - num_known, minlength=len(new_ids)).astype(np.int64)
    states, targets = _states(users, items, num_known, contexts, recency, ordered=ordered)
    num_states = np.bincount(targets, minlength=len(new_ids)).astype(np.int64)
    sums = torch.zeros(len(new_ids), contexts.shape[1]).index_add_(0, torch.from_numpy(targets), states)
    return ItemUsers(sums / torch.from_numpy(num_states).clamp(min=1).unsqueeze(1), num_states, counts)


def _states(
    users: IntArray, items: IntArray, num_known: int, contexts: Tensor, recency: Tensor, *, ordered: bool
) -> tuple[Tensor, IntArray]:
    """Unit history states [T, D] of the interactions with new items, and whose they are, int64 [T].

    In order, the history of an interaction is what the user had before; in a set, everything else. Who has nothing
    there says nothing.
    """
    starts = np.searchsorted(users, users, side="left")
    known = items < num_known
    at = np.flatnonzero(~known)
    parts, targets = [contexts.new_empty(0, contexts.shape[1])], [np.empty(0, np.int64)]
    for some in np.split(at, range(_BLOCK, len(at), _BLOCK)):
        histories, whose = [], []
        for place in some.tolist():
            last = place if ordered else int(np.searchsorted(users, users[place], side="right"))
            history = items[starts[place] : last]
            history = history[known[starts[place] : last]]
            if len(history):
                histories.append(history[::-1][: len(recency)] if ordered else history)
                whose.append(items[place] - num_known)
        if histories:
            lengths = np.array([len(history) for history in histories])
            weights = [recency[: len(history)] if ordered else recency.new_ones(len(history)) for history in histories]
            flat, offsets = torch.from_numpy(np.concatenate(histories)), torch.from_numpy(np.cumsum([0, *lengths[:-1]]))
            states = F.embedding_bag(flat, contexts, offsets, mode="sum", per_sample_weights=torch.cat(weights))
            parts.append(F.normalize(states, dim=-1))
            targets.append(np.array(whose, np.int64))
    return torch.cat(parts), np.concatenate(targets)
