"""Tables of items that cannot be used: exit code 2, one line with the cure, and nothing changed."""

from pathlib import Path

import pytest

from tests.offline.importing.sources import text_file

BAD_ITEMS = {
    "items that differ": (
        "item_id,title\na,Ah\na,Oh\n",
        (),
        "item 'a' has rows that differ: 0 and 1",
        "one row per item",
    ),
    "null item": ("item_id,title\na,Ah\n,Oh\n", (), "column 'item_id' (item_id), row 1: None is null", "an id"),
    "zero item": ("item_id\na\0\n", (), "row 0: 'a\\x00' holds a zero byte", "without it"),
    "long item": (f"item_id\n{'i' * 300}\n", (), "row 0: 'iiii", "a shorter id"),
    "no id": ("name,price\nx,1\n", (), "no column is known for item_id", "--items-map item_id=COLUMN"),
    "no such column": ("sku,name\na,Ah\n", ("--items-map", "item_id=code"), "column 'code' for item_id", "--items-map"),
    "unknown and refused": (
        "item_id\nb\n",
        ("--unknown-items", "refuse"),
        "row 0: 'a' is not among the items (0 more such rows beside it)",
        "add it",
    ),
}


@pytest.mark.parametrize("problem", BAD_ITEMS)
def test_items_that_cannot_be_used(job, tmp_path: Path, problem: str) -> None:
    text, options, named, cure = BAD_ITEMS[problem]
    log, items = text_file(tmp_path / "log.csv", "user_id,item_id\nu,a\n"), text_file(tmp_path / "items.csv", text)
    ended = job("import", log, "--data", tmp_path / "shop", "--items", items, *options)
    assert (ended.code, ended.out) == (2, ""), ended.err
    assert named in ended.err
    assert cure in ended.err
    assert not (tmp_path / "shop").exists()
