"""Items out of the served release: nobody gets them any more, all others stay as they were, a rollback undoes it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from offline.catalogue_changes.add_items import add_items
from offline.catalogue_changes.base_release import BaseRelease, open_base
from offline.catalogue_changes.remove_items import kept_rows, read_item_ids, remove_items
from offline.catalogue_changes.successor import Target
from offline.errors import BadInputError
from service.constraints import ItemFilter
from service.contract.manifest import DECODER_ARRAY, ITEM_ENCODER_ARRAY
from service.contract.redis_keys import RedisKeys
from service.decoder import BeamDecoder

SIZE = 60


@pytest.mark.parametrize(
    ("removed", "rows"),
    [
        ([], [0, 1, 2, 3, 4]),
        ([4], [0, 1, 2, 3]),
        ([1], [0, 4, 2, 3]),
        ([3, 0], [4, 1, 2]),
        ([1, 4], [0, 3, 2]),
        ([0, 1, 2, 3], [4]),
    ],
)
def test_the_last_rows_move_into_the_holes(removed: list[int], rows: list[int]) -> None:
    assert kept_rows(5, np.array(removed, np.int64)).tolist() == rows


def by_id(release: BaseRelease) -> dict[str, Any]:
    """Everything that a release says of each item."""
    rec_ids, items = release.rec_ids().tolist(), release.items
    columns = (rec_ids, release.vectors.tolist(), items.titles, items.categories, items.train_counts.tolist())
    return dict(zip(items.item_ids, zip(*columns, strict=True), strict=True))


def test_the_others_stay_as_they_were(base: BaseRelease, target: Target) -> None:
    gone = ["item-59", "item-03", "item-07"]
    result = remove_items([*gone, "item-03"], target)
    release = open_base(target.store)
    assert (result["version"], result["base"]) == (release.version, base.version)
    assert (result["removed"], result["items"]) == (3, SIZE - 3)
    expected = by_id(base)
    for item_id in gone:
        del expected[item_id]
    assert by_id(release) == expected
    assert release.items.item_ids[:10] == (
        *base.items.item_ids[:3],
        "item-57",
        *base.items.item_ids[4:7],
        "item-58",
        *base.items.item_ids[8:10],
    )
    for name in (DECODER_ARRAY, ITEM_ENCODER_ARRAY):
        assert release.manifest.arrays[name] == base.manifest.arrays[name]
    assert release.manifest.gate["removed"] == 3


def test_nobody_gets_them_any_more(base: BaseRelease, target: Target) -> None:
    remove_items(["item-00"], target)  # what the checkerboard withholds from user 0
    release = open_base(target.store)
    row_of = release.items.row_of()
    history = np.array([row_of[f"item-{row:02d}"] for row in range(2, SIZE, 2)])
    onnx = release.unchanged[DECODER_ARRAY].tobytes()
    decoder = BeamDecoder(onnx, trie=release.trie, item_vectors=release.vectors, settings=release.manifest.model)
    leaves = decoder.decode([history], [ItemFilter()], beam_width=200).leaves[0]
    found = {release.items.item_ids[row] for row in release.trie.leaf_to_row[leaves[leaves >= 0]]}
    assert found == {f"item-{row:02d}" for row in range(1, SIZE)}


def test_a_rollback_brings_them_back(served: str, target: Target) -> None:
    result = remove_items(["item-00"], target)
    assert target.store.read_manifest(result["version"]).parent == served
    assert target.store.rollback() == served
    target.store.verify(served)
    assert len(open_base(target.store).items) == SIZE


def test_what_was_added_can_be_removed_and_added_again(
    base: BaseRelease, target: Target, new_items: Callable[..., Path], tmp_path: Path
) -> None:
    folder = new_items(tmp_path / "new", "even", "odd")
    add_items(folder, target)
    with_both = by_id(open_base(target.store))
    remove_items(["new-0", "new-1"], target)
    assert by_id(open_base(target.store)) == by_id(base)
    add_items(folder, target)
    assert by_id(open_base(target.store)) == with_both


def test_all_but_one_may_go(base: BaseRelease, target: Target) -> None:
    remove_items(base.items.item_ids[:-1], target)
    assert open_base(target.store).items.item_ids == ("item-59",)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "no items to remove; name them with --item"),
        (["item-00", "x"], "has no 'x': 1 of 2 items to remove are unknown; correct the ids, nothing was changed"),
        ([f"x{row}" for row in range(7)], "has no 'x0', 'x1', 'x2', 'x3', 'x4' and 2 more: 7 of 7 items"),
        ([f"item-{row:02d}" for row in range(SIZE)], "these are all 60 items of release .* needs at least one"),
    ],
)
def test_what_cannot_be_removed(
    served: str, target: Target, everything: Callable[[], dict[bytes, Any]], items: list[str], message: str
) -> None:
    before = everything()
    with pytest.raises(BadInputError, match=message):
        remove_items(items, target)
    assert everything() == before
    assert target.store.active_version() == served


def test_nothing_is_published(target: Target) -> None:
    with pytest.raises(BadInputError, match="nothing is published in this namespace"):
        remove_items(["item-00"], target)


def test_a_release_that_lost_bytes(served: str, target: Target, client: redis.Redis, keys: RedisKeys) -> None:
    address = next(iter(target.store.read_manifest(served).arrays["item_vectors"].addresses))
    client.delete(keys.blob(*address))
    with pytest.raises(ValueError, match=r"array item_vectors: chunk 0 .* is missing"):
        remove_items(["item-00"], target)
    assert target.store.active_version() == served


def test_ids_from_a_file(checkerboard: Path, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("item-00\n\n  item-07 \n")
    assert read_item_ids(tmp_path / "ids") == ["item-00", "item-07"]
    (tmp_path / "ids.csv").write_text('title,"item_id"\n"Ah, so",item-00\nOh,item-07\n')
    assert read_item_ids(tmp_path / "ids.csv") == ["item-00", "item-07"]
    (tmp_path / "ids.csv").write_text("item-00\nitem_07\n")
    assert read_item_ids(tmp_path / "ids.csv") == ["item-00", "item_07"]
    assert read_item_ids(checkerboard / "items.parquet") == [f"item-{row:02d}" for row in range(SIZE)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "ids cannot be read .*No such file.*write one item id a line, in UTF-8"),
        (b"\xff\xfe\x00", "ids cannot be read .*write one item id a line, in UTF-8"),
        (b"\n \n", "ids names no item; write one item id a line"),
    ],
)
def test_a_file_that_names_nothing(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "ids").write_bytes(content)
    with pytest.raises(BadInputError, match=message):
        read_item_ids(tmp_path / "ids")
