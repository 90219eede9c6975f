"""Items of a source as rows of items.parquet: `item_id`, title, categories, image_url, and what else the source knows.

A catalogue is held in memory; only the log is larger than that.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from offline import progress
from offline.errors import BadInputError
from offline.importing import field_values
from offline.importing.column_map import require_columns
from offline.importing.staging import MAX_SHOWN
from offline.importing.tables import Table
from service.contract.item_table import MAX_ID_LENGTH

EMPTY_ITEMS: Final = pl.DataFrame(schema={"item_id": pl.String})

_TYPES: Final[dict[str, pl.DataType]] = {
    "title": pl.String(),
    "categories": pl.List(pl.String),
    "image_url": pl.String(),
}


class Catalogue(NamedTuple):
    """The items of a dataset folder."""

    items: pl.DataFrame
    without_metadata: int  # items that stand in interactions only


def read_item_table(
    table: Table,
    mapping: Mapping[str, str],
    scratch: Path,
    *,
    category_delimiter: str = "|",
    option: str = "--items-map",
) -> pl.DataFrame:
    """The items of a table; columns that stand for no field are kept as they are.

    Args:
        table: the files.
        mapping: field -> column.
        scratch: folder for copies.
        category_delimiter: between the categories of an item, where they are text and not lists.
        option: that gives the mapping, for messages.

    Raises:
        BadInputError: a file cannot be read, lacks a column, or has a value that cannot be used.
    """
    frames = []
    for number, file in enumerate(table.files):
        with table.open(number, scratch) as rows:
            schema = rows.collect_schema()
            require_columns(mapping, list(schema), file.name, option)
            first = rows.select(pl.col(mapping["item_id"]).drop_nulls().head(1)).collect().to_series()
            fields = {
                "item_id": field_values.id_text(
                    mapping["item_id"], schema[mapping["item_id"]], file.name, first=first[0] if len(first) else None
                )
            }
            for field, column in mapping.items():
                if field == "categories":
                    fields[field] = _categories(column, schema[column], file.name, category_delimiter)
                elif field != "item_id":
                    fields[field] = field_values.name_values(column, schema[column], file.name)
            others = [
                column for column in schema if column not in mapping.values() and column not in ("item_id", *_TYPES)
            ]
            found = rows.select(*(expression.alias(field) for field, expression in fields.items()), *others).collect()
            check_ids(found, file.name, mapping["item_id"])
            frames.append(found)
    return pl.concat(frames, how="diagonal_relaxed") if len(frames) > 1 else frames[0]


def check_ids(items: pl.DataFrame, source: str, column: str) -> None:
    """Refuse ids of items that are null, empty, too long or hold a zero byte.

    Raises:
        BadInputError: there is one; the message names source, column and row.
    """
    ids = items["item_id"]
    for mask, problem, cure in (
        (ids.is_null(), "is null", "give every item an id"),
        (ids == "", "is an empty string", "give every item an id"),
        (ids.str.contains("\0", literal=True), "holds a zero byte", "write text without it"),
        (ids.str.len_chars() > MAX_ID_LENGTH, f"has over {MAX_ID_LENGTH} characters", "take a shorter id"),
    ):
        if mask.any():
            row = mask.arg_true()[0]
            shown = repr(ids[row])[:MAX_SHOWN]
            raise BadInputError(
                f"{source}: column {column!r} (item_id), row {row}: {shown} {problem} ({int(mask.sum())} rows); {cure}"
            )


def distinct_items(items: pl.DataFrame, source: str, *, drop_bad_rows: bool) -> pl.DataFrame:
    """One row per item. Rows that say the same are one; of others the first is kept where bad rows are dropped.

    Raises:
        BadInputError: two rows of one item differ, and bad rows are not dropped.
    """
    if items["item_id"].is_unique().all():
        return items
    distinct = items.unique(maintain_order=True)
    repeated = ~distinct["item_id"].is_first_distinct()
    if repeated.any() and not drop_bad_rows:
        name = distinct.filter(repeated)["item_id"][0]
        places = (items["item_id"] == name).arg_true().to_list()
        raise BadInputError(
            f"{source}: item {name!r} has rows that differ: {places[0]} and {places[1]} ({int(repeated.sum())} such "
            "rows); keep one row per item, or take --drop-bad-rows to keep the first"
        )
    kept = distinct.filter(~repeated)
    progress.say(f"warning: {source}: {items.height - kept.height} repeated rows of items are left out")
    return kept


def merged_items(old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """Old items in their places, with metadata of the new table where it has any; its other items after them."""
    if new.is_empty():
        return old
    news = new.filter(~new["item_id"].is_in(old["item_id"].implode()))
    same = old.join(new, on="item_id", how="left", maintain_order="left", suffix="\0new")
    columns = [
        pl.coalesce(f"{name}\0new", name).alias(name) if name in new.columns and name in old.columns else pl.col(name)
        for name in dict.fromkeys((*old.columns, *new.columns))
        if name != "item_id"
    ]
    return pl.concat([same.select("item_id", *columns), news], how="diagonal_relaxed")


def catalogue(table: pl.DataFrame, log_ids: pl.Series, *, only_interacted: bool) -> Catalogue:
    """The items of a table, then those that only the log knows, by id.

    Args:
        table: one row per item.
        log_ids: the items of the log, each once.
        only_interacted: leave out items that the log lacks.
    """
    if only_interacted:
        table = table.filter(table["item_id"].is_in(log_ids.implode()))
    others = log_ids.filter(~log_ids.is_in(table["item_id"].implode())).sort()
    items = pl.concat([table, pl.DataFrame({"item_id": others})], how="diagonal_relaxed") if len(others) else table
    known = [name for name in ("item_id", *_TYPES) if name in items.columns]
    rest = [name for name in items.columns if name not in known]
    typed = [pl.col(name).cast(_TYPES[name]) for name in known if name != "item_id"]
    return Catalogue(items.select("item_id", *typed, *rest), len(others))


def _categories(column: str, kind: pl.DataType, source: str, delimiter: str) -> pl.Expr:
    values = pl.col(column)
    if isinstance(kind, pl.List | pl.Array):
        if isinstance(kind.inner, pl.List | pl.Array | pl.Struct):
            raise BadInputError(f"{source}: column {column!r} has type {kind}; categories are a list of names")
        return values.cast(pl.List(pl.String)).list.drop_nulls()
    parts = field_values.name_values(column, kind, source).str.split(delimiter)
    stripped = parts.list.eval(pl.element().str.strip_chars())
    return stripped.list.eval(pl.element().filter(pl.element() != "")).list.unique(maintain_order=True)
