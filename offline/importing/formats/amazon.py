"""Amazon reviews as JSON lines: those of 2014 and 2018 (reviewerID, asin) and of 2023 (user_id, parent_asin)."""

from collections.abc import Iterable
from itertools import chain
from typing import Any, Final

import polars as pl

from offline.importing.formats.layout import Layout
from offline.importing.json_lines import json_objects
from offline.importing.source_files import SourceFile
from offline.importing.tables import Table

_OLD: Final = {"user_id": "reviewerID", "item_id": "asin", "timestamp": "unixReviewTime", "weight": "overall"}
_NEW: Final = {"user_id": "user_id", "item_id": "parent_asin", "timestamp": "timestamp", "weight": "rating"}
_PATH_SIGN: Final = " > "
_LOOKED_AT: Final = 3
"""Files whose first lines decide: a warehouse may have thousands."""


def amazon_layout(files: list[SourceFile], meta: list[SourceFile] | None = None) -> Layout | None:
    """The layout of files of reviews, with metadata among them or given; None where the first lines say otherwise."""
    lines = [file for file in files if file.suffix in (".json", ".jsonl")]
    mapping = next(
        (shape for file in lines[:_LOOKED_AT] for shape in (_OLD, _NEW) if _is_log(_keys(file), shape)), None
    )
    if mapping is None:
        return None
    firsts = {file: _keys(file) for file in lines}
    logs = tuple(file for file, keys in firsts.items() if _is_log(keys, mapping))
    items = meta or [file for file, keys in firsts.items() if mapping["item_id"] in keys and file not in logs]
    return Layout(
        format="amazon",
        log=Table(files=logs, kind="json"),
        mapping=mapping,
        items=(lambda _: read_amazon_items(items)) if items else None,
        items_name=items[0].name if items else "",
    )


def read_amazon_items(files: Iterable[SourceFile]) -> pl.DataFrame:
    """Items of metadata files. A category is the whole path to it ("Beauty > Makeup > Nails")."""
    lines = chain.from_iterable(json_objects(file) for file in files)
    rows = [
        {
            "item_id": _name(line.get("parent_asin") or line.get("asin")),
            "title": _name(line.get("title")),
            "categories": _paths(line.get("categories") or line.get("category") or []),
            "image_url": _image(
                line.get("imUrl") or line.get("imageURLHighRes") or line.get("imageURL") or line.get("images")
            ),
            "brand": _name(line.get("brand") or line.get("store")),
            "description": _text(line.get("description")),
        }
        for line in lines
    ]
    text = dict.fromkeys(("item_id", "title", "image_url", "brand", "description"), pl.String)
    return pl.DataFrame(rows, schema={**text, "categories": pl.List(pl.String)}).select(
        "item_id", "title", "categories", "image_url", "brand", "description"
    )


def _is_log(keys: set[str], mapping: dict[str, str]) -> bool:
    return {mapping["user_id"], mapping["item_id"]} <= keys


def _keys(file: SourceFile) -> set[str]:
    return set(next(json_objects(file), {}))


def _name(value: Any) -> str | None:
    return str(value) if isinstance(value, str | int | float) and value != "" else None


def _paths(value: Any) -> list[str]:
    """2014: a list of paths. 2018 and 2023: one path."""
    paths = value if isinstance(value, list) and value and isinstance(value[0], list) else [value]
    joined = [_PATH_SIGN.join(str(part) for part in path if part) for path in paths if isinstance(path, list)]
    return [path for path in dict.fromkeys(joined) if path]


def _image(value: Any) -> str | None:
    """A URL, the first of a list of URLs, or of one of 2023's objects."""
    first = value[0] if isinstance(value, list) and value else value
    if isinstance(first, dict):
        first = first.get("hi_res") or first.get("large") or first.get("thumb")
    return first if isinstance(first, str) and first else None


def _text(value: Any) -> str | None:
    parts = value if isinstance(value, list) else [value]
    return " ".join(part for part in parts if isinstance(part, str) and part) or None
