"""Items out of a release: the last rows move into the holes, so that few chunks change."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from offline.catalogue_changes.base_release import BaseRelease, open_base
from offline.catalogue_changes.successor import ChangedCatalogue, Target, check_changed, publish_changed
from offline.dataset_checks import read_items
from offline.errors import BadInputError
from service.contract.item_table import ItemTable
from service.contract.trie import build_trie

NAMED = 5
"""Unknown items that a message names."""


def remove_items(item_ids: Sequence[str], target: Target, *, version: str = "") -> dict[str, Any]:
    """Remove items from a release and activate the result; a rollback brings them back.

    Args:
        item_ids: what to remove; repeated ones count once.
        target: where the new release goes.
        version: of the release to start from; "" for what the main arm serves.

    Returns:
        What the job prints: version, base, counts, bytes.

    Raises:
        BadInputError: no items or all of them, unknown ones, or nothing is published.
        GateRefusedError: the result cannot be served. In every case the served release stays.
    """
    wanted = list(dict.fromkeys(item_ids))
    if not wanted:
        raise BadInputError("no items to remove; name them with --item, or in the file of --items, one id a line")
    base = open_base(target.store, version)
    changed = without(base, wanted)
    check_changed(base, changed)
    facts = {"removed": len(wanted)}
    written = publish_changed(base, changed, target, facts)
    return {**written, "base": base.version, "items": len(changed.items), **facts}


def without(base: BaseRelease, item_ids: Sequence[str]) -> ChangedCatalogue:
    """The catalogue of a release without some items.

    Raises:
        BadInputError: an item is unknown, or none would be left.
    """
    row_of = base.items.row_of()
    unknown = [item_id for item_id in item_ids if item_id not in row_of]
    if unknown:
        more = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
        raise BadInputError(
            f"release {base.version} has no {', '.join(map(repr, unknown[:NAMED]))}{more}: {len(unknown)} of "
            f"{len(item_ids)} items to remove are unknown; correct the ids, nothing was changed"
        )
    if len(item_ids) == len(row_of):
        raise BadInputError(
            f"these are all {len(row_of)} items of release {base.version}, and a release needs at least one; to serve "
            "another catalogue, publish another run"
        )
    rows = kept_rows(len(row_of), np.array([row_of[item_id] for item_id in item_ids], np.int64))
    listed = rows.tolist()
    items = ItemTable(
        item_ids=tuple(base.items.item_ids[row] for row in listed),
        titles=tuple(base.items.titles[row] for row in listed),
        categories=tuple(base.items.categories[row] for row in listed),
        train_counts=base.items.train_counts[rows],
    )
    trie = build_trie(base.rec_ids()[rows], base.manifest.model.space)
    return ChangedCatalogue(items=items, vectors=base.vectors[rows], trie=trie, new_rows=np.empty(0, np.int64))


def kept_rows(num_items: int, removed: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Old row of every new row: those that stay keep theirs, but the last of all move into the holes.

    Args:
        num_items: before.
        removed: int64, distinct rows.
    """
    num_kept = num_items - len(removed)
    rows = np.arange(num_kept)
    rows[np.sort(removed[removed < num_kept])] = np.setdiff1d(np.arange(num_kept, num_items), removed)
    return rows


def read_item_ids(path: Path) -> list[str]:
    """Ids from a file: one a line, or the column `item_id` of a Parquet file or of a CSV that has such a header.

    Raises:
        BadInputError: it cannot be read, or holds none.
    """
    if path.suffix == ".parquet":
        return [str(item_id) for item_id in read_items(path)["item_id"].to_list()]
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"--items {path} cannot be read ({error}); write one item id a line, in UTF-8") from error
    ids = [line.strip() for line in lines if line.strip()]
    if ids and path.suffix == ".csv" and "item_id" in (header := next(csv.reader(ids[:1]))):
        ids = [row["item_id"] for row in csv.DictReader(ids[1:], header, restval="") if row["item_id"]]
    if not ids:
        raise BadInputError(f"--items {path} names no item; write one item id a line")
    return ids
