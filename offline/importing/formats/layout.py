"""What a format knows of a source: where its log is, which column is which field, and what describes the items."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import polars as pl

from offline.importing.source_files import SourceFile
from offline.importing.tables import Table

FormatName = Literal["table", "recbole", "mmrec", "movielens", "amazon", "lastfm"]

ReadItems = Callable[[Path], pl.DataFrame]
"""From a scratch folder to item_id, title, categories, image_url and other columns; rows may repeat an item."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A source, understood."""

    format: FormatName
    log: Table
    mapping: Mapping[str, str]
    """Field -> column, as far as the format says."""
    items: ReadItems | None = None
    items_name: str = ""
    """Of the file of the items, for messages."""
    category_delimiter: str | None = None
    split_names: Mapping[str, str] | None = None
    """What stands for train, valid and test."""
    prefixes: Mapping[str, str] = field(default_factory=dict)
    """Field -> what is put before its ids."""
    features: Mapping[str, SourceFile] = field(default_factory=dict)
    """Modality -> .npy; row r belongs to item number r."""
    notes: tuple[str, ...] = ()
    """What was found out, in plain words."""


def encoding_of(file: SourceFile) -> str:
    """UTF-8 where a (small) file is that, else Latin-1, as older research data often is."""
    with file.open() as source:
        try:
            source.read().decode("utf-8")
        except UnicodeDecodeError:
            return "latin-1"
    return "utf-8"


def named(files: "list[SourceFile] | tuple[SourceFile, ...]", name: str) -> SourceFile | None:
    """The file of this name, with or without `.gz`."""
    return next((file for file in files if file.base_name.removesuffix(".gz") == name), None)
