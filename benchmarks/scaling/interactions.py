"""A made-up log of any size: users with tastes, items of skewed popularity, a mild order. Whole arrays throughout.

Every item belongs to one taste, every user has three. Most of what a user takes is of them, the popular items of a
taste first; now and then the next item is the one that a table names as the successor of the last. Users may take an
item twice, as in real logs. The numbers of users and items grow with the log.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from offline.dataset_checks import INTERACTIONS_FILE, ITEMS_FILE

IntArray = npt.NDArray[np.int64]

INTERACTIONS_PER_USER = 40
INTERACTIONS_PER_ITEM = 100
FEWEST_PER_USER = 4
ITEMS_PER_TASTE = 200
TASTES_PER_USER = 3
TASTE_SHARE = 0.85
SUCCESSOR_SHARE = 0.2
SKEW = 1.0
"""Popularity within a taste: the first share x of its items has a share `x ** (1 / (1 + SKEW))` of what is taken."""
NUM_COLUMNS = 64
FIRST_TIME, MILLISECONDS_BETWEEN = 1_700_000_000_000, 60_000


class LogSize(NamedTuple):
    """Rows of the log, users in it, items of the catalogue."""

    interactions: int
    users: int
    items: int


def size_of(interactions: int) -> LogSize:
    """Users and items that go with so many interactions."""
    items = max(ITEMS_PER_TASTE, interactions // INTERACTIONS_PER_ITEM)
    return LogSize(interactions, max(1, interactions // INTERACTIONS_PER_USER), items)


def write_log(interactions: int, folder: Path, *, seed: int, has_time: bool) -> LogSize:
    """Write a dataset folder (design, section 3) without a split; one modality of features, categories by taste."""
    size, rng = size_of(interactions), np.random.default_rng(seed)
    (folder / "features").mkdir(parents=True)
    num_tastes = max(1, size.items // ITEMS_PER_TASTE)
    taste_of = rng.permutation(np.arange(size.items) % num_tastes)
    users, items = draw(size, taste_of, rng)
    log = pl.DataFrame({"user": users, "item": items}).select(
        pl.format("user-{}", "user").alias("user_id"), pl.format("item-{}", "item").alias("item_id")
    )
    if has_time:
        moments = FIRST_TIME + MILLISECONDS_BETWEEN * np.arange(len(users))
        log = log.with_columns(timestamp=pl.Series(moments))
    log.write_parquet(folder / INTERACTIONS_FILE)
    rows = pl.DataFrame({"row": np.arange(size.items), "taste": taste_of})
    rows.select(
        pl.format("item-{}", "row").alias("item_id"),
        pl.format("Thing {}", "row").alias("title"),
        pl.concat_list(pl.format("taste {}", "taste")).alias("categories"),
    ).write_parquet(folder / ITEMS_FILE)
    centres = rng.normal(size=(num_tastes, NUM_COLUMNS))
    features = centres[taste_of] + rng.normal(size=(size.items, NUM_COLUMNS))
    np.save(folder / "features" / "content.npy", features.astype(np.float16))
    return size


def draw(size: LogSize, taste_of: IntArray, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """User and item of every interaction, sorted by user, oldest first: int64 [M] each."""
    users = np.repeat(np.arange(size.users), _lengths(size, rng))
    counts = np.bincount(taste_of)
    tastes = rng.integers(len(counts), size=(size.users, TASTES_PER_USER))
    taste = tastes[users, rng.integers(TASTES_PER_USER, size=len(users))]
    anything = rng.random(len(users)) >= TASTE_SHARE
    taste[anything] = rng.integers(len(counts), size=int(anything.sum()))
    by_taste = np.argsort(taste_of, kind="stable")
    place = (rng.random(len(users)) ** (1 + SKEW) * counts[taste]).astype(np.int64)
    items = by_taste[(np.cumsum(counts) - counts)[taste] + place]
    successor = rng.permutation(size.items)
    follows = rng.random(len(users)) < SUCCESSOR_SHARE
    follows[1:] &= users[1:] == users[:-1]
    follows[0] = False
    items[follows] = successor[items[:-1][follows[1:]]]
    return users, items


def _lengths(size: LogSize, rng: np.random.Generator) -> IntArray:
    """How many interactions each user has: a few at least, most of them few, together exactly as many as asked for."""
    wanted = rng.lognormal(sigma=0.9, size=size.users)
    rest = max(0, size.interactions - FEWEST_PER_USER * size.users)
    ends = np.round(np.cumsum(wanted) / wanted.sum() * rest).astype(np.int64)
    lengths: IntArray = FEWEST_PER_USER + np.diff(ends, prepend=0)
    return lengths
