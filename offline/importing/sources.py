"""From what the caller names to what is read: log, items, and which column is which field, given, saved or guessed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from offline import progress
from offline.errors import BadInputError
from offline.importing.column_guess import ITEM_GUESSES, LOG_GUESSES, guess_columns
from offline.importing.column_map import ITEM_FIELDS, LOG_FIELDS, complete_map, require_columns, require_fields
from offline.importing.formats.amazon import amazon_layout
from offline.importing.formats.detect import known_layout
from offline.importing.formats.layout import FormatName, Layout
from offline.importing.item_tables import read_item_table
from offline.importing.source_files import find_files, shown
from offline.importing.tables import KINDS, Table, columns_of, find_table


@dataclass(frozen=True, kw_only=True)
class Source:
    """What an import reads."""

    log: str
    """Path or URL of the log."""
    items: str | None = None
    """Path or URL of the table of items."""
    format: FormatName | None = None
    """None to find out."""
    mapping: Mapping[str, str] = field(default_factory=dict)
    """Field -> column of the log; what is not in it is guessed or taken from the format."""
    items_mapping: Mapping[str, str] = field(default_factory=dict)
    delimiter: str | None = None
    category_delimiter: str | None = None
    """None for that of the last import, else "|"."""


@dataclass(frozen=True, kw_only=True)
class Understood:
    """A source whose columns are known."""

    layout: Layout
    items_mapping: Mapping[str, str]


def understand(source: Source) -> Understood:
    """Find out the format and the columns of a source, and say what was guessed.

    Raises:
        BadInputError: something is not there, or no column is known for the user or the item.
    """
    layout = known_layout(source.log, source.format)
    if layout is None:
        layout = _table_layout(source)
    elif source.mapping:
        columns = list(columns_of(layout.log))
        given = {name: column for name, column in source.mapping.items() if column}
        require_columns(given, columns, layout.log.files[0].name, "--map")
        merged = {name: column for name, column in (dict(layout.mapping) | dict(source.mapping)).items() if column}
        split_names = layout.split_names if merged.get("split") == layout.mapping.get("split") else None
        layout = _changed(layout, mapping=merged, split_names=split_names)
    for note in layout.notes:
        progress.say(f"{shown(source.log)}: {note}")
    columns = list(columns_of(layout.log))
    require_fields(layout.mapping, ["user_id", "item_id"], columns, "--map")
    require_columns(layout.mapping, columns, layout.log.files[0].name, "--map")
    if source.items is None:
        return Understood(layout=layout, items_mapping={})
    return _with_items(layout, source, source.items)


def _table_layout(source: Source) -> Layout:
    log = find_table(source.log, source.delimiter)
    mapping, notes = _mapping(log, source.mapping, LOG_FIELDS, LOG_GUESSES, "--map", ("user_id", "item_id"))
    return Layout(format="table", log=log, mapping=mapping, notes=notes)


def _with_items(layout: Layout, source: Source, items: str) -> Understood:
    if layout.format == "amazon" and not source.items_mapping:
        found = amazon_layout(list(layout.log.files), find_files(items, list(KINDS)))
        assert found is not None
        return Understood(layout=_changed(layout, items=found.items, items_name=found.items_name), items_mapping={})
    table = find_table(items, source.delimiter if items.endswith((".csv", ".csv.gz")) else None)
    mapping, notes = _mapping(table, source.items_mapping, ITEM_FIELDS, ITEM_GUESSES, "--items-map", ("item_id",))
    for note in notes:
        progress.say(f"{shown(items)}: {note}")

    def read(folder: Path) -> pl.DataFrame:
        return read_item_table(table, mapping, folder, category_delimiter=source.category_delimiter or "|")

    return Understood(layout=_changed(layout, items=read, items_name=shown(items)), items_mapping=mapping)


def _mapping(
    table: Table,
    given: Mapping[str, str],
    fields: tuple[str, ...],
    guesses: tuple[str, ...],
    option: str,
    needed: tuple[str, ...],
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The columns of a table: with a map as it says and columns with a field's own name, else guessed."""
    schema = columns_of(table)
    columns, name = list(schema), table.files[0].name
    notes: tuple[str, ...] = ()
    if any(given.values()):
        require_columns({key: column for key, column in given.items() if column}, columns, name, option)
        mapping = complete_map(given, columns, fields)
    else:
        guess = guess_columns(schema, tuple(one for one in guesses if one not in given))
        mapping, notes = guess.mapping, tuple(f"guessed {reason}" for reason in guess.reasons)
    try:
        require_fields(mapping, needed, columns, option)
    except BadInputError as error:
        raise BadInputError(f"{name}: {error}") from error
    return mapping, notes


def _changed(layout: Layout, **changes: Any) -> Layout:
    return replace(layout, **changes)
