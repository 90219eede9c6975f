"""Atomic files of RecBole: `.inter` and `.item`, tab separated, with a type behind every name (`user_id:token`)."""

from pathlib import Path

import polars as pl

from offline.errors import BadInputError
from offline.importing.column_guess import ITEM_GUESSES, LOG_GUESSES, guess_columns
from offline.importing.column_map import require_fields
from offline.importing.formats.layout import Layout
from offline.importing.item_tables import read_item_table
from offline.importing.source_files import SourceFile
from offline.importing.tables import Table, columns_of

_SEQUENCE = " "
"""Between the parts of a token_seq."""


def recbole_layout(files: list[SourceFile]) -> Layout | None:
    """The layout of a folder of atomic files; None where no `.inter` has typed names."""
    logs = [file for file in files if file.suffix == ".inter"]
    if not logs or ":" not in first_line(logs[0]):
        return None
    log = _table(logs)
    guess = guess_columns(columns_of(log), LOG_GUESSES)
    items = [file for file in files if file.suffix == ".item"]
    return Layout(
        format="recbole",
        log=log,
        mapping=guess.mapping,
        items=(lambda folder: _read_items(_table(items), folder)) if items else None,
        items_name=items[0].name if items else "",
        category_delimiter=_SEQUENCE,
        notes=guess.reasons,
    )


def first_line(file: SourceFile) -> str:
    """The names of the columns of an atomic file."""
    with file.open() as source:
        line = source.readline()
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInputError(f"{file.name}: line 1 is no text in UTF-8; write the file in UTF-8") from error


def _table(files: list[SourceFile]) -> Table:
    return Table(files=tuple(files), kind="csv", delimiter="\t", quoted=False)


def _read_items(table: Table, scratch: Path) -> pl.DataFrame:
    columns = columns_of(table)
    mapping = dict(guess_columns(columns, ITEM_GUESSES).mapping)
    if "categories" not in mapping:
        sequences = [name for name in columns if name.endswith(":token_seq") and name not in mapping.values()]
        mapping |= {"categories": sequences[0]} if sequences else {}
    require_fields(mapping, ["item_id"], list(columns), "--items-map")
    found = read_item_table(table, mapping, scratch, category_delimiter=_SEQUENCE)
    return found.rename({name: name.partition(":")[0] for name in found.columns if ":" in name})
