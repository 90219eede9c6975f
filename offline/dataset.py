"""A dataset in memory: loaded and checked once, then trusted by every job.

Ids are strings in the files and row numbers in here. `user row` = position in `Dataset.user_ids`, `item row` = position
in `Dataset.item_ids`, which is also the row in every feature array.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from offline import progress, splits
from offline.dataset_checks import (
    INTERACTIONS_FILE,
    ITEMS_FILE,
    InteractionLog,
    read_interactions,
    read_items,
    require_folder,
)
from offline.errors import BadInputError
from offline.feature_files import read_features
from service.contract.item_table import ItemTable

IntArray = npt.NDArray[np.int64]

MOST_VALIDATION_USERS = 4000
"""Users that a choice by validation looks at, evenly spread."""


class Interactions(NamedTuple):
    """The interactions of one split, sorted by user; oldest first within a user, or in file order without time."""

    users: IntArray  # [M] user rows
    items: IntArray  # [M] item rows


class Histories(NamedTuple):
    """A list of items per user, flat (CSR): user row u has `items[offsets[u]:offsets[u + 1]]`, oldest first."""

    offsets: IntArray  # [num_users + 1]
    items: IntArray  # [M] item rows

    def of(self, user: int) -> IntArray:
        """Returns the items of one user row, oldest first."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """One dataset folder. Build it with `load_dataset`, which checks what this class takes for granted."""

    name: str
    user_ids: tuple[str, ...]
    """Sorted."""
    item_ids: tuple[str, ...]
    """In the order of items.parquet."""
    titles: tuple[str, ...]
    """One per item, "" where absent."""
    categories: tuple[tuple[str, ...], ...]
    """Those of each item, () where absent."""
    features: dict[str, npt.NDArray[np.float32]]
    """Modality -> [num_items, dim]; a row of NaN where the item lacks it."""
    train: Interactions
    valid: Interactions
    test: Interactions
    has_time: bool
    """Whether the order of interactions means anything."""

    @property
    def num_users(self) -> int:
        """How many users have an interaction in any split."""
        return len(self.user_ids)

    @property
    def num_items(self) -> int:
        """How many items the catalogue has, with or without interactions."""
        return len(self.item_ids)

    def histories(self, target: Literal["valid", "test"]) -> Histories:
        """What is known of each user when `target` is predicted (design, section 3, protocol).

        For valid it is train. For test it is train + valid with time, and train without.
        """
        known = (self.train, self.valid) if target == "test" and self.has_time else (self.train,)
        return _by_user(known, self.num_users)

    def targets(self, split: splits.Split) -> Histories:
        """The items of one split per user: what a recommendation should have found. Users without any are empty.

        None of them stands in the user's history: `load_dataset` has left those out.
        """
        held_out = {"train": self.train, "valid": self.valid, "test": self.test}[split]
        return _by_user((held_out,), self.num_users)

    def full_history(self) -> Histories:
        """Everything each user did: what the service loads. With time oldest first, else train, valid, test."""
        return _by_user((self.train, self.valid, self.test), self.num_users)

    def train_counts(self) -> IntArray:
        """How many training interactions each item has, [num_items]. Popularity is never measured on anything else."""
        return np.bincount(self.train.items, minlength=self.num_items).astype(np.int64, copy=False)


def held_out_users(dataset: Dataset, split: splits.HeldOutSplit, max_users: int = 0) -> IntArray:
    """User rows with held-out items in `split`; at most `max_users` of them, evenly spread, unless it is 0."""
    users = np.flatnonzero(np.diff(dataset.targets(split).offsets))
    if 0 < max_users < len(users):
        users = users[np.linspace(0, len(users) - 1, max_users).astype(np.int64)]
    return users


def require_held_out(dataset: Dataset, split: splits.HeldOutSplit) -> None:
    """Refuse to judge by a split in which nothing is held out.

    Raises:
        BadInputError: nobody has an item in it.
    """
    if not len(dataset.targets(split).items):
        raise BadInputError(
            f"{dataset.name} holds out nothing for {split}, so there is nothing to judge by; mark rows with "
            f"split={split}, or leave out the column: then it is made for users with at least "
            f"{splits.MIN_INTERACTIONS_TO_HOLD_OUT} items"
        )


def load_dataset(folder: Path, *, seed: int = 0, judged_by: splits.HeldOutSplit | None = None) -> Dataset:
    """Loads and checks a dataset folder.

    Without a `split` column it is made: leave-one-out by time where there is a timestamp, else a seeded random 8:1:1
    per user; either counts a repeated (user, item) pair once, at its first time (see `offline.splits`). A given split
    is taken as it is, but for held-out items that the history has already: they can never be recommended, so they are
    left out with a warning. Training interactions may repeat.

    Args:
        folder: the folder of design section 3: interactions.parquet, items.parquet and, if there are any, features/.
        seed: decides the random split, nothing else.
        judged_by: a split that the caller needs held-out items in.

    Returns:
        The dataset; `features` is empty where the folder has none.

    Raises:
        BadInputError: anything in the folder is not as the design says, or nothing is held out in `judged_by`; the
            message names it and the cure.
    """
    require_folder(folder)
    items = read_items(folder / ITEMS_FILE)
    log = read_interactions(folder / INTERACTIONS_FILE, items["item_id"])
    (train, valid, test), num_repeated = _split(log, seed)
    dataset = Dataset(
        name=folder.resolve().name,
        user_ids=log.user_ids,
        item_ids=tuple(items["item_id"].to_list()),
        titles=tuple(items["title"].to_list()),
        categories=tuple(map(tuple, items["categories"].to_list())),
        features=read_features(folder / "features", items.height),
        train=train,
        valid=valid,
        test=test,
        has_time=log.has_time,
    )
    if judged_by is not None:
        require_held_out(dataset, judged_by)
    _warn(dataset, num_repeated)
    return dataset


def _warn(dataset: Dataset, num_repeated: int) -> None:
    """Say what a dataset cannot be used for although it is sound."""
    if num_repeated:
        progress.say(
            f"warning: {dataset.name}: {num_repeated} held-out interactions are with items that stand in the user's "
            "history already; what a user has is never recommended, so they are not counted"
        )
    if not len(dataset.valid.users):
        progress.say(
            f"warning: {dataset.name} holds out nothing for valid: what validation would choose (the temperature, "
            "who teaches the generator, the weight of the dense term, settings of peers) stays at the start or the "
            "middle of its grid; mark rows with split=valid, or leave out the column to have it made"
        )


def _split(log: InteractionLog, seed: int) -> tuple[list[Interactions], int]:
    """Train, valid and test; and how many held-out interactions of a given split the history has already."""
    users = log.rows["user"].to_numpy().astype(np.int64)
    items = log.rows["item"].to_numpy().astype(np.int64)
    if log.has_split:
        train, valid, test = _parts(users, items, log.rows["split"].to_numpy().astype(np.int8))
        valid, repeated_valid = _without_repeats((train,), valid)
        # As `Dataset.histories` has it: with time, what is held out for validation is history of the test.
        test, repeated_test = _without_repeats((train, valid) if log.has_time else (train,), test)
        return [train, valid, test], repeated_valid + repeated_test
    kept = splits.first_of_each_pair(users, items)
    users, items = users[kept], items[kept]
    codes = splits.leave_one_out(users) if log.has_time else splits.random_split(users, items, seed=seed)
    return _parts(users, items, codes), 0


def _parts(users: IntArray, items: IntArray, codes: splits.CodeArray) -> list[Interactions]:
    return [Interactions(users[codes == code], items[codes == code]) for code in range(len(splits.SPLITS))]


def _without_repeats(history: Sequence[Interactions], held_out: Interactions) -> tuple[Interactions, int]:
    """The held-out interactions with items that the user's history does not have, and how many are left out."""
    known = np.concatenate([_pairs(part) for part in history])
    fresh = ~np.isin(_pairs(held_out), known)
    return Interactions(held_out.users[fresh], held_out.items[fresh]), int((~fresh).sum())


def _pairs(part: Interactions) -> IntArray:
    """One number for every user and item; both are far below 2^31."""
    return (part.users << 31) | part.items


def _by_user(parts: Sequence[Interactions], num_users: int) -> Histories:
    """Groups by user; within a user, earlier parts come first (the splits follow time, which the door has checked).

    An item that occurs twice counts where it occurs first, as the service has it (`service.serving.prepare`).
    """
    users = np.concatenate([part.users for part in parts])
    items = np.concatenate([part.items for part in parts])
    kept = splits.first_of_each_pair(users, items)
    users, items = users[kept], items[kept]
    offsets = np.zeros(num_users + 1, dtype=np.int64)
    np.cumsum(np.bincount(users, minlength=num_users), out=offsets[1:])
    return Histories(offsets, items[np.argsort(users, kind="stable")])


def item_table(dataset: Dataset) -> ItemTable:
    """What a release tells of the dataset's items."""
    return ItemTable(dataset.item_ids, dataset.titles, dataset.categories, dataset.train_counts())
