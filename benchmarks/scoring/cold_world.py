"""A dataset of which some items appear only after training."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from offline.dataset import Dataset, Histories, Interactions
from offline.splits import SPLITS

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, kw_only=True)
class ColdWorld:
    """A dataset and the items that the training must not see.

    Attributes:
        dataset: whole.
        cold: bool [num_items].
    """

    dataset: Dataset
    cold: npt.NDArray[np.bool_]

    def held_out(self, splits: tuple[str, ...]) -> Histories:
        """The cold items that each user had, in these splits: what should be recommended."""
        parts = {"train": self.dataset.train, "valid": self.dataset.valid, "test": self.dataset.test}
        users = np.concatenate([parts[name].users for name in splits])
        items = np.concatenate([parts[name].items for name in splits])
        return _by_user(users, items, self.cold[items], self.dataset.num_users)

    def histories(self) -> Histories:
        """What is known of each user when the cold items appear: that of a test, without them."""
        known = self.dataset.histories("test")
        users = np.repeat(np.arange(self.dataset.num_users), np.diff(known.offsets))
        return _by_user(users, known.items, ~self.cold[known.items], self.dataset.num_users)


def choose_cold(dataset: Dataset, share: float, seed: int) -> ColdWorld:
    """Draw a share of the items."""
    cold = np.zeros(dataset.num_items, bool)
    drawn = np.random.default_rng(seed).choice(dataset.num_items, round(share * dataset.num_items), replace=False)
    cold[drawn] = True
    return ColdWorld(dataset=dataset, cold=cold)


def write_without_cold(world: ColdWorld, folder: Path) -> Path:
    """The dataset folder of a training that knows nothing of the cold items; the splits stay as they are."""
    (folder / "features").mkdir(parents=True, exist_ok=True)
    dataset, warm = world.dataset, ~world.cold
    write_items(dataset, np.flatnonzero(warm), folder)
    parts = [_rows(dataset, part, name) for name, part in zip(SPLITS, _parts(dataset), strict=True)]
    log = pl.concat(parts).filter(pl.col("item_id").is_in(_ids(dataset, np.flatnonzero(warm)).implode()))
    log.write_parquet(folder / "interactions.parquet")
    return folder


def write_new(world: ColdWorld, folder: Path) -> Path:
    """The cold items alone, with all interactions of their dataset."""
    dataset = world.dataset
    write_items(dataset, np.flatnonzero(world.cold), folder)
    log = pl.concat([_rows(dataset, part, name) for name, part in zip(SPLITS, _parts(dataset), strict=True)])
    log.write_parquet(folder / "interactions.parquet")
    return folder


def write_items(dataset: Dataset, rows: IntArray, folder: Path) -> None:
    """items.parquet and features/ of some items."""
    (folder / "features").mkdir(parents=True, exist_ok=True)
    columns = {
        "item_id": _ids(dataset, rows),
        "title": pl.Series([dataset.titles[row] for row in rows], dtype=pl.String),
        "categories": pl.Series([list(dataset.categories[row]) for row in rows], dtype=pl.List(pl.String)),
    }
    pl.DataFrame(columns).write_parquet(folder / "items.parquet")
    for name, values in dataset.features.items():
        np.save(folder / "features" / f"{name}.npy", values[rows])


def _parts(dataset: Dataset) -> tuple[Interactions, ...]:
    return (dataset.train, dataset.valid, dataset.test)


def _rows(dataset: Dataset, part: Interactions, split: str) -> pl.DataFrame:
    """Rows of a split; its order within a user becomes the time, where the dataset has any."""
    frame = {
        "user_id": pl.Series([dataset.user_ids[user] for user in part.users], dtype=pl.String),
        "item_id": _ids(dataset, part.items),
        "split": pl.repeat(split, len(part.users), dtype=pl.String, eager=True),
    }
    if dataset.has_time:
        frame["timestamp"] = pl.int_range(len(part.users), eager=True) + SPLITS.index(split) * 2**40
    return pl.DataFrame(frame)


def _ids(dataset: Dataset, rows: IntArray) -> pl.Series:
    return pl.Series([dataset.item_ids[row] for row in rows], dtype=pl.String)


def _by_user(users: IntArray, items: IntArray, wanted: npt.NDArray[np.bool_], num_users: int) -> Histories:
    users, items = users[wanted], items[wanted]
    offsets = np.zeros(num_users + 1, np.int64)
    np.cumsum(np.bincount(users, minlength=num_users), out=offsets[1:])
    return Histories(offsets, items[np.argsort(users, kind="stable")])
