"""New items into a release without training: content to key, key to Rec-ID, and a release that shares the rest."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.item_encoder import ItemEncoder
from offline import progress
from offline.catalogue_changes.base_release import BaseRelease, halves, open_base
from offline.catalogue_changes.free_rec_ids import free_rec_ids
from offline.catalogue_changes.item_users import read_item_users
from offline.catalogue_changes.new_items import NewItems, read_new_items
from offline.catalogue_changes.new_vectors import new_contexts, new_keys
from offline.catalogue_changes.successor import ChangedCatalogue, Target, check_changed, publish_changed
from service.contract.item_table import ItemTable
from service.contract.trie import build_trie


def add_items(data: Path, target: Target, *, version: str = "", interactions: bool = False) -> dict[str, Any]:
    """Add the items of a folder that a release does not have, and activate the result.

    Items that the release has keep their row, their Rec-ID and their vectors, whatever the folder says of them.

    Args:
        data: folder with items.parquet and features/; the whole catalogue, or the new items alone.
        target: where the new release goes.
        version: of the release to start from; "" for what the main arm serves.
        interactions: whether users in interactions.parquet say something of the new items, too.

    Returns:
        What the job prints: version (None when there was nothing to add), base, counts, bytes, seconds of each step.

    Raises:
        BadInputError: the folder is not what the release needs, or nothing is published.
        GateRefusedError: there is no room, or the result cannot be served. In every case the served release stays.
    """
    steps = _Steps()
    with steps.step("read the release"):
        base = open_base(target.store, version)
        encoder = base.item_encoder()
    with steps.step("read the new items"):
        new = read_new_items(data, base, encoder.config.feature_dims)
    if not len(new):
        progress.say(f"release {base.version} has all items of {data}: nothing to add")
        return {"version": None, "base": base.version, "added": 0, "items": len(base.items)}
    with steps.step("encode them"):
        changed, facts = extended(base, encoder, new, data if interactions else None)
    with steps.step("gate"):
        check_changed(base, changed)
    with steps.step("write and activate"):
        written = publish_changed(base, changed, target, facts)
    return {**written, "base": base.version, "items": len(changed.items), **facts, "seconds": steps.seconds}


def extended(
    base: BaseRelease, encoder: ItemEncoder, new: NewItems, interactions: Path | None
) -> tuple[ChangedCatalogue, dict[str, int]]:
    """The catalogue of a release with new items behind its own, and what there is to say of it.

    Args:
        base: the release.
        encoder: its own.
        new: the new items.
        interactions: folder of interactions.parquet, if users are to be heard.

    Raises:
        BadInputError: an item has neither content nor users.
        GateRefusedError: there is no room.
    """
    users = None
    if interactions is not None:
        contexts = halves(base.vectors)[1]
        users = read_item_users(interactions, base, new.item_ids, contexts, encoder.recency)
    keys = new_keys(encoder, new, users)
    contexts = new_contexts(base, keys)
    counts = np.zeros(len(new), np.int64) if users is None else users.counts
    by_popularity = np.lexsort((np.array(new.item_ids, object), -counts))
    latent = encoder.latent(keys)
    space = base.manifest.model.space
    rec_ids, num_moved = free_rec_ids(latent, encoder.quantizer, base.trie, space, by_popularity)
    items = ItemTable(
        item_ids=(*base.items.item_ids, *new.item_ids),
        titles=(*base.items.titles, *new.titles),
        categories=(*base.items.categories, *new.categories),
        train_counts=np.concatenate([base.items.train_counts, counts]),
    )
    vectors = torch.cat([keys, contexts], dim=1).numpy().astype(base.vectors.dtype)
    changed = ChangedCatalogue(
        items=items,
        vectors=np.concatenate([base.vectors, vectors]),
        trie=build_trie(np.concatenate([base.rec_ids(), rec_ids]), space),
        new_rows=np.arange(len(base.items), len(items)),
    )
    facts = {"added": len(new), "moved": num_moved}
    if users is not None:
        facts["with_users"] = int((users.num_states > 0).sum())
    return changed, facts


class _Steps:
    """What each step took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 3)
