"""Who had a new item already: the mean of their history states, by hand."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from offline.catalogue_changes import item_users as module
from offline.catalogue_changes.add_items import add_items
from offline.catalogue_changes.base_release import BaseRelease, halves, open_base
from offline.catalogue_changes.item_users import read_item_users
from offline.catalogue_changes.successor import Target
from offline.errors import BadInputError

SIZE = 60
NEW = ("new-0", "new-1")


def write_interactions(folder: Path, *rows: tuple[str, str, int, str]) -> Path:
    """Rows of user, item, time and split."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp", "split"], orient="row")
    table.write_parquet(folder / "interactions.parquet")
    return folder


def ordered(base: BaseRelease, is_ordered: bool) -> BaseRelease:
    model = replace(base.manifest.model, ordered_history=is_ordered)
    return replace(base, manifest=replace(base.manifest, model=model))


def state(contexts: Tensor, *weighed: tuple[int, float]) -> Tensor:
    return F.normalize(sum((weight * contexts[row] for row, weight in weighed), torch.zeros(contexts.shape[1])), dim=0)


ROWS = (
    ("ann", "item-01", 1, "train"),
    ("ann", "item-02", 2, "train"),
    ("ann", "new-0", 3, "train"),
    ("ann", "new-0", 4, "train"),
    ("ann", "item-03", 5, "train"),
    ("bob", "new-1", 1, "train"),
    ("bob", "new-0", 2, "train"),
    ("bob", "item-04", 3, "train"),
    ("cat", "new-1", 1, "train"),
    ("dan", "item-05", 1, "train"),
    ("dan", "new-1", 2, "test"),
    ("eve", "item-06", 1, "train"),
)


@pytest.mark.parametrize("block", [1, 4096])
def test_in_a_set_everything_else_of_the_user_speaks(
    base: BaseRelease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(module, "_BLOCK", block)
    contexts, folder = halves(base.vectors)[1], write_interactions(tmp_path, *ROWS)
    found = read_item_users(folder, ordered(base, False), NEW, contexts, torch.tensor([1.0, 0.5]))
    ann, bob = state(contexts, (1, 1.0), (2, 1.0), (3, 1.0)), state(contexts, (4, 1.0))
    torch.testing.assert_close(found.states, torch.stack([(ann + bob) / 2, bob]))
    assert found.num_states.tolist() == [2, 1]  # cat has nothing else, dan's is held out
    assert found.counts.tolist() == [2, 2]


def test_in_order_what_came_before_speaks_and_the_newest_most(base: BaseRelease, tmp_path: Path) -> None:
    contexts, folder = halves(base.vectors)[1], write_interactions(tmp_path, *ROWS)
    found = read_item_users(folder, ordered(base, True), NEW, contexts, torch.tensor([1.0, 0.5]))
    torch.testing.assert_close(found.states[0], state(contexts, (2, 1.0), (1, 0.5)))
    assert found.num_states.tolist() == [1, 0]
    assert not found.states[1].any()


def test_order_without_time_is_refused(base: BaseRelease, tmp_path: Path) -> None:
    folder = write_interactions(tmp_path, *ROWS)
    table = pl.read_parquet(folder / "interactions.parquet").drop("timestamp")
    table.write_parquet(folder / "interactions.parquet")
    with pytest.raises(BadInputError, match=r"has no timestamps.*leave out --interactions"):
        read_item_users(folder, ordered(base, True), NEW, halves(base.vectors)[1], torch.ones(2))


def test_users_tell_where_an_item_without_content_belongs(
    base: BaseRelease, target: Target, new_items: Callable[..., Path], tmp_path: Path
) -> None:
    """Odd users had the one, even users the other; the items themselves say nothing."""
    folder = new_items(tmp_path / "new", "", "")
    rows = [(f"user-{user}", f"item-{item:02d}", 0, "train") for user in range(4) for item in range(user % 2, 20, 2)]
    rows += [(f"user-{user}", f"new-{user % 2}", 1, "train") for user in range(4)]
    write_interactions(folder, *rows)
    result = add_items(folder, target, interactions=True)
    assert (result["added"], result["with_users"]) == (2, 2)
    release = open_base(target.store)
    keys = halves(release.vectors)[0]
    nearest = (keys[SIZE:] @ keys[:SIZE].T).topk(10).indices % 2
    np.testing.assert_array_equal(nearest, [[0] * 10, [1] * 10])
    assert release.items.train_counts[SIZE:].tolist() == [2, 2]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("ann", "unknown", 1, "train")], "row 0: 'unknown' is not in items.parquet"),
        ([("", "new-0", 1, "train")], "column 'user_id', row 0: '' is an empty string"),
        ([("ann", "new-0", 1, "later")], "'later' is none of train, valid, test"),
    ],
)
def test_interactions_that_cannot_be_used(
    served: str, target: Target, new_items: Any, everything: Any, tmp_path: Path, rows: Any, message: str
) -> None:
    folder = write_interactions(new_items(tmp_path / "new", "even"), *rows)
    before = everything()
    with pytest.raises(BadInputError, match=message):
        add_items(folder, target, interactions=True)
    assert everything() == before
    (folder / "interactions.parquet").unlink()
    with pytest.raises(BadInputError, match=r"interactions.parquet: no such file"):
        add_items(folder, target, interactions=True)
    assert everything() == before
