"""A generated shop whose users have large sets of items and no order: data without time that no recipe was made by.

Every item belongs to one taste and has a popularity with a heavy tail; every user's interest is shared out over the
tastes, most of it to a few, and a little goes to everything. The log is sorted by item, so that what comes last in a
history says nothing: whoever cuts a set by its place in the file loses what the user likes. A seed decides all of it.
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

NUM_TASTES = 24
CONCENTRATION = 0.15
"""Of the Dirichlet distribution that interest is drawn from: a few tastes have nearly all of it."""
EVERYTHING_SHARE = 0.02
"""Of interest that goes to all tastes alike."""
POPULARITY_EXPONENT = 1.6
MOST_POPULAR = 50
"""Times as popular as the least popular item that an item can be."""


class SetShop(NamedTuple):
    """The shop, in rows.

    Attributes:
        taste_of: int64 [items], the taste that an item belongs to.
        interest: float64 [users, NUM_TASTES], summing to one.
        sets: int64 [users, interactions], item rows, ascending, none twice.
    """

    taste_of: IntArray
    interest: npt.NDArray[np.float64]
    sets: IntArray


def generate_set_shop(size: ShopSize, seed: int) -> SetShop:
    """Make a shop up; equal sizes and seeds give equal shops.

    Raises:
        BadInputError: there are no users, fewer than three interactions, or too few items.
    """
    fewest = max(NUM_TASTES, 2 * size.interactions)
    if size.users < 1 or size.interactions < 3 or size.items < fewest:
        raise BadInputError(
            f"{size.users} users of {size.interactions} interactions with {size.items} items make no shop; take at "
            f"least 1 user, 3 interactions and, for so many interactions, {fewest} items"
        )
    rng = np.random.default_rng(seed)
    taste_of = rng.permutation(np.arange(size.items) % NUM_TASTES)
    popularity = rng.zipf(POPULARITY_EXPONENT, size.items).clip(max=MOST_POPULAR).astype(float)
    interest = rng.dirichlet(np.full(NUM_TASTES, CONCENTRATION), size.users)
    sets = []
    for liked in interest:
        weights = (liked[taste_of] + EVERYTHING_SHARE / NUM_TASTES) * popularity
        sets.append(np.sort(rng.choice(size.items, size.interactions, replace=False, p=weights / weights.sum())))
    return SetShop(taste_of, interest, np.array(sets))


def write_set_shop(shop: SetShop, folder: Path) -> None:
    """Write the shop as a dataset folder (design, section 3): no time, split, features or titles; sorted by item."""
    folder.mkdir(parents=True, exist_ok=True)
    num_users, length = shop.sets.shape
    item_ids = np.array([f"item-{row:05d}" for row in range(len(shop.taste_of))])
    users = np.repeat([f"user-{row:05d}" for row in range(num_users)], length)
    log = pl.DataFrame({"user_id": users.tolist(), "item_id": item_ids[shop.sets.reshape(-1)].tolist()})
    pl.DataFrame({"item_id": item_ids.tolist()}).write_parquet(folder / ITEMS_FILE)
    log.sort("item_id", "user_id").write_parquet(folder / INTERACTIONS_FILE)
