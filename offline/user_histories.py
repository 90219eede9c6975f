"""The histories of a dataset as Redis shall hold them: without splits and features, but with times."""

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from offline.dataset import Dataset, IntArray
from offline.dataset_checks import INTERACTIONS_FILE, ITEMS_FILE, read_interactions, read_items, require_folder
from offline.splits import first_of_each_pair
from service.contract.history_scripts import FIRST_TIME

MOST_AHEAD_MS = 24 * 60 * 60 * 1000  # as much as the service takes of an event's time


class UserHistories(NamedTuple):
    """Items per user, flat: user row u has `items[offsets[u]:offsets[u + 1]]`, oldest first, each item once."""

    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]
    offsets: IntArray  # [num_users + 1]
    items: IntArray  # [M] item rows
    times: IntArray | None  # [M] milliseconds since 1970; None where the dataset does not say


def read_user_histories(folder: Path) -> UserHistories:
    """Read what every user did, in every split. With a timestamp oldest first, else train, valid, test.

    An item that occurs twice counts where it occurs first, as in training (`offline.dataset`).

    Raises:
        BadInputError: as `offline.dataset.load_dataset` for these two files.
    """
    require_folder(folder)
    item_ids = read_items(folder / ITEMS_FILE)["item_id"]
    log = read_interactions(folder / INTERACTIONS_FILE, item_ids)
    users, items = (log.rows[name].to_numpy().astype(np.int64) for name in ("user", "item"))
    times = _milliseconds(log.rows["timestamp"]) if log.has_time else None
    kept = first_of_each_pair(users, items)
    offsets = np.searchsorted(users[kept], np.arange(len(log.user_ids) + 1))
    return UserHistories(
        log.user_ids, tuple(item_ids.to_list()), offsets, items[kept], None if times is None else times[kept]
    )


def user_histories(dataset: Dataset) -> UserHistories:
    """The histories of a dataset that is in memory already, which knows no times."""
    histories = dataset.full_history()
    return UserHistories(dataset.user_ids, dataset.item_ids, histories.offsets, histories.items, None)


def _milliseconds(column: pl.Series) -> IntArray | None:
    """Timestamps as milliseconds; None unless every one of them can be that (design, section 3: only order counts)."""
    if isinstance(column.dtype, pl.Datetime | pl.Date):
        column = column.cast(pl.Datetime("ms")).to_physical()
    latest = time.time() * 1000 + MOST_AHEAD_MS
    values = column.to_numpy()
    if not ((values >= FIRST_TIME) & (values <= latest)).all():
        return None
    return values.astype(np.int64)
