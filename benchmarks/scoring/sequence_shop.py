"""A generated shop whose users have tastes and a mild order: data with time whose figures no recipe was made by.

Every item belongs to one taste, every user has some tastes. Most of what a user takes is of them, by a popularity that
follows Zipf's law within each taste; the rest is taken from the whole catalogue. Now and then the next item is the one
that a table names as the successor of the last. Everything is made up, and a seed decides all of it.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from benchmarks.scoring.shop_size import ShopSize
from offline.dataset_checks import INTERACTIONS_FILE, ITEMS_FILE
from offline.errors import BadInputError

IntArray = npt.NDArray[np.int64]

NUM_TASTES = 20
TASTES_PER_USER = 3
TASTE_SHARE = 0.85
"""Of what a user takes, without the successors; the rest may be anything."""
SUCCESSOR_SHARE = 0.3
"""How often the next item is the successor of the last one, unless the user has it already."""
MILLISECONDS_BETWEEN = 60_000
FIRST_TIME = 1_700_000_000_000


class SequenceShop(NamedTuple):
    """The shop, in rows.

    Attributes:
        taste_of: int64 [items], the taste that an item belongs to.
        tastes: int64 [users, TASTES_PER_USER].
        successor: int64 [items], another item of the same taste.
        sequences: int64 [users, interactions], item rows, oldest first, none twice.
    """

    taste_of: IntArray
    tastes: IntArray
    successor: IntArray
    sequences: IntArray


def generate_shop(size: ShopSize, seed: int) -> SequenceShop:
    """Make a shop up; equal sizes and seeds give equal shops.

    Raises:
        BadInputError: there are no users, fewer than three interactions, or too few items.
    """
    _require_possible(size)
    rng = np.random.default_rng(seed)
    taste_of = rng.permutation(np.arange(size.items) % NUM_TASTES)
    tastes = np.array([rng.choice(NUM_TASTES, TASTES_PER_USER, replace=False) for _ in range(size.users)])
    popularity = np.empty(size.items)
    successor = np.empty(size.items, np.int64)
    for taste in range(NUM_TASTES):
        members = rng.permutation(np.flatnonzero(taste_of == taste))
        popularity[members] = 1.0 / np.arange(1, len(members) + 1)
        successor[members] = np.roll(members, 1)  # a ring through the taste, in an order that popularity has not
    everything = rng.permutation(1.0 / np.arange(1, size.items + 1))
    sequences = [
        _sequence(np.where(np.isin(taste_of, liked), popularity, 0.0), everything, successor, size.interactions, rng)
        for liked in tastes
    ]
    return SequenceShop(taste_of, tastes, successor, np.array(sequences))


def write_shop(shop: SequenceShop, folder: Path) -> None:
    """Write the shop as a dataset folder (design, section 3): with time, without a split, features or titles."""
    folder.mkdir(parents=True, exist_ok=True)
    num_users, length = shop.sequences.shape
    moments = np.arange(num_users * length, dtype=np.int64).reshape(length, num_users)  # all users act in turn
    item_ids = np.array([f"item-{row:05d}" for row in range(len(shop.taste_of))])
    log = {
        "user_id": np.repeat([f"user-{row:05d}" for row in range(num_users)], length).tolist(),
        "item_id": item_ids[shop.sequences.reshape(-1)].tolist(),
        "timestamp": FIRST_TIME + MILLISECONDS_BETWEEN * moments.T.reshape(-1),
    }
    pl.DataFrame({"item_id": item_ids.tolist()}).write_parquet(folder / ITEMS_FILE)
    pl.DataFrame(log).write_parquet(folder / INTERACTIONS_FILE)


def _require_possible(size: ShopSize) -> None:
    if size.users < 1 or size.interactions < 3:
        raise BadInputError(
            f"{size.users} users of {size.interactions} interactions leave nothing to hold out; take at least 1 user "
            "and 3 interactions"
        )
    fewest = max(2 * NUM_TASTES, 2 * size.interactions)
    if size.items < fewest:
        raise BadInputError(
            f"{size.items} items are too few for {NUM_TASTES} tastes and {size.interactions} interactions a user, none "
            f"of them twice; take at least {fewest}"
        )


def _sequence(
    liked: npt.NDArray[np.float64],
    everything: npt.NDArray[np.float64],
    successor: IntArray,
    length: int,
    rng: np.random.Generator,
) -> list[int]:
    """Item rows of one user, given how likely each item is by taste and at large; zero where taste leaves it out."""
    fresh = np.ones(len(liked), bool)
    items: list[int] = []
    while len(items) < length:
        if items and rng.random() < SUCCESSOR_SHARE and fresh[successor[items[-1]]]:
            item = int(successor[items[-1]])
        else:
            wanted = liked * fresh if rng.random() < TASTE_SHARE else everything * fresh
            if not wanted.any():  # a user of a small shop has all that there is of the tastes
                wanted = everything * fresh
            item = int(rng.choice(len(wanted), p=wanted / wanted.sum()))
        fresh[item] = False
        items.append(item)
    return items
