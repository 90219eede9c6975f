"""The text of every item, made of columns of items.parquet."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from offline.errors import BadInputError

TEXT_COLUMNS = ("title", "categories", "description")


def read_content_columns(path: Path, columns: Sequence[str], defaults: Sequence[str]) -> pl.DataFrame:
    """Columns of items.parquet: those that were asked for, else those of the defaults that are there.

    Raises:
        BadInputError: the file cannot be read, or has no such column.
    """
    try:
        with path.open("rb") as file:
            present = list(pl.read_parquet_schema(file))
        wanted = list(dict.fromkeys(columns)) or [name for name in defaults if name in present]
        missing = [name for name in wanted if name not in present]
        if missing:
            raise BadInputError(
                f"{path}: column {missing[0]!r} is missing (columns present: {', '.join(present)}); name another with "
                "--column, or add it"
            )
        return pl.read_parquet(path, columns=wanted, glob=False, hive_partitioning=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BadInputError(f"{path}: cannot be read as parquet ({error}); write it again") from error


def item_texts(path: Path, columns: Sequence[str]) -> dict[int, str]:
    """Row of items.parquet to text, for the items that have any; the parts of a text are joined by ". ".

    Args:
        path: items.parquet.
        columns: of strings or lists of strings; empty for those of title, categories and description that are there.

    Raises:
        BadInputError: no such column, one of another type, or no item has any text.
    """
    table = read_content_columns(path, columns, TEXT_COLUMNS)
    if not table.columns:
        raise BadInputError(
            f"{path}: has none of the columns {', '.join(TEXT_COLUMNS)}; add one, or name others with --column"
        )
    parts = [_as_strings(table[name], path) for name in table.columns]
    joined = [". ".join(filter(None, pieces)) for pieces in zip(*parts, strict=True)]
    texts = {row: text for row, text in enumerate(joined) if text}
    if not texts:
        raise BadInputError(
            f"{path}: no item of {table.height} has a text in {', '.join(table.columns)}; fill these columns, or name "
            "others with --column"
        )
    return texts


def _as_strings(column: pl.Series, path: Path) -> list[str]:
    """One text per row, "" where there is none; lists are joined by ", "."""
    dtype = column.dtype
    if isinstance(dtype, pl.List | pl.Array):
        if not isinstance(dtype.inner, pl.String | pl.Categorical | pl.Enum | pl.Null):
            raise _wrong_type(column, path)
        column = column.cast(pl.List(pl.String)).list.drop_nulls().list.join(", ")
    elif not isinstance(dtype, pl.String | pl.Categorical | pl.Enum | pl.Null):
        raise _wrong_type(column, path)
    return [" ".join(text.split()) for text in column.cast(pl.String).fill_null("").to_list()]


def _wrong_type(column: pl.Series, path: Path) -> BadInputError:
    return BadInputError(
        f"{path}: column {column.name!r} has type {column.dtype}, row 0: {column[0]!r}; write strings or lists of "
        "strings, or name other columns with --column"
    )
