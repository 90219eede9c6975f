"""Every file of a log, read once and written down with the dataset's own fields; what cannot be used is named."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from offline import progress
from offline.errors import BadInputError
from offline.importing import field_values
from offline.importing.column_map import require_columns
from offline.importing.field_values import TimeUnit
from offline.importing.spool import Chunk, Spool
from offline.importing.tables import Table
from offline.splits import SPLITS
from service.contract.item_table import MAX_ID_LENGTH

PROBLEM: Final = "problem"
RAW_TIME: Final = "raw_time"
"""Times of a unit that is not known yet."""

_CURES: Final = {
    "null": "give every row a value there, or leave such rows out by --drop-bad-rows",
    "long": f"ids have at most {MAX_ID_LENGTH} characters: take a shorter one, such as a hash, or --drop-bad-rows",
    "zero": "write text without it, or leave such rows out by --drop-bad-rows",
    "time": "write ISO 8601, say how it is written by --time-format, or leave such rows out by --drop-bad-rows",
    "weight": "write a finite number of at least 0 in every row, leave the column out by weight= in --map, or take "
    "--drop-bad-rows",
    "split": "write one of train, valid, test in every row, or leave the column out by split= in --map",
}
# Reason -> what is said of the value, and which cure.
_PROBLEMS: Final = {
    "null user_id": ("is null, so the interaction belongs to nobody", "null"),
    "empty user_id": ("is an empty string", "null"),
    "long user_id": (f"has over {MAX_ID_LENGTH} characters", "long"),
    "null item_id": ("is null", "null"),
    "empty item_id": ("is an empty string", "null"),
    "zero in user_id": ("holds a zero byte", "zero"),
    "zero in item_id": ("holds a zero byte", "zero"),
    "long item_id": (f"has over {MAX_ID_LENGTH} characters", "long"),
    "unreadable timestamp": ("is no time that can be read", "time"),
    "unreadable weight": ("is no number", "weight"),
    "weight not finite": ("is not finite", "weight"),
    "negative weight": ("is negative", "weight"),
    "unknown split": ("is none of train, valid, test", "split"),
}


@dataclass(frozen=True, kw_only=True)
class LogReading:
    """How a log is to be read."""

    mapping: Mapping[str, str]
    """Field -> column."""
    time_format: str | None = None
    drop_bad_rows: bool = False
    split_names: Mapping[str, str] | None = None
    """What stands for train, valid and test in the source, where these do not stand there themselves."""
    prefixes: Mapping[str, str] = field(default_factory=dict)
    """Field -> what is put before its ids."""
    map_option: str = "--map"


@dataclass(frozen=True, kw_only=True)
class StagedLog:
    """A log on disk: user_id, item_id, problem, and of timestamp (or raw_time), event, weight and split what it has."""

    spool: Spool
    names: tuple[str, ...]
    """Of the files; part p of the spool is one file."""
    fields: tuple[str, ...]
    raw_times: tuple[float, float] | None
    """Lowest and greatest, where times are numbers."""
    bad_rows: Mapping[str, int]
    """Reason -> how many rows; they stay in the spool, marked."""

    def chunks(self) -> Iterator[Chunk]:
        """All rows, in order."""
        return self.spool.chunks()


def stage_log(table: Table, reading: LogReading, folder: Path) -> StagedLog:
    """Read all files of a log.

    Args:
        table: the files.
        reading: which column is what.
        folder: for what is written; room for the log's ids, times and weights, and for one file's copy.

    Returns:
        All rows, in the order of the files.

    Raises:
        BadInputError: a file cannot be read, lacks a column or, unless bad rows are dropped, has one of no use.
    """
    spool, scratch, bad_rows = Spool(folder / "staged"), folder / "scratch", Counter[str]()
    times: list[tuple[float, float]] = []
    with progress.task("reading", len(table.files)) as task:
        for number, file in enumerate(table.files):
            with table.open(number, scratch) as rows:
                fields = _fields(rows, reading, file.name)
                spool.sink(rows.select(**fields).with_columns(_problem(fields).alias(PROBLEM)))
                found = _count_problems(spool.part(number))
                if found and not reading.drop_bad_rows:
                    raise _refusal(spool.part(number), rows, reading, file.name)
                bad_rows.update(found)
                if RAW_TIME in fields:
                    times += _time_range(spool.part(number))
            task.advance(file.name)
    raw = (min(low for low, _ in times), max(high for _, high in times)) if times else None
    return StagedLog(
        spool=spool,
        names=tuple(file.name for file in table.files),
        fields=tuple(reading.mapping),
        raw_times=raw,
        bad_rows=dict(bad_rows),
    )


def to_milliseconds(rows: pl.DataFrame, unit: TimeUnit | None) -> pl.DataFrame:
    """Staged rows with `timestamp` in place of `raw_time`."""
    if RAW_TIME not in rows.columns or unit is None:
        return rows
    times = (pl.col(RAW_TIME) * field_values.UNIT_TO_MS[unit]).round().cast(pl.Int64, strict=False)
    return rows.with_columns(times.alias("timestamp")).drop(RAW_TIME)


def _fields(rows: pl.LazyFrame, reading: LogReading, file_name: str) -> dict[str, pl.Expr]:
    schema = rows.collect_schema()
    require_columns(reading.mapping, list(schema), file_name, reading.map_option)
    found: dict[str, pl.Expr] = {}
    for name, column in reading.mapping.items():
        kind = schema[column]
        if name in ("user_id", "item_id"):
            first = _first(rows, column) if isinstance(kind, pl.Binary) else None
            ids = field_values.id_text(column, kind, file_name, first=first)
            found[name] = pl.lit(reading.prefixes[name]) + ids if name in reading.prefixes else ids
        elif name == "timestamp":
            first = _first(rows, column) if not kind.is_numeric() else None
            time = field_values.time_values(column, kind, file_name, first=first, text_format=reading.time_format)
            found[RAW_TIME if time.is_number else name] = time.values
        elif name == "weight":
            found[name] = field_values.weight_values(column, kind, file_name)
        else:
            found[name] = field_values.name_values(column, kind, file_name)
    if "split" in found and reading.split_names is not None:
        found["split"] = found["split"].replace_strict(dict(reading.split_names), default=None, return_dtype=pl.String)
    return found


def _first(rows: pl.LazyFrame, column: str) -> object:
    values = rows.select(pl.col(column).drop_nulls().head(1)).collect(engine="streaming").to_series()
    return values[0] if len(values) else None


def _problem(fields: Mapping[str, pl.Expr]) -> pl.Expr:
    """The first reason not to use a row, null where there is none."""
    masks: dict[str, pl.Expr] = {}
    for name in ("user_id", "item_id"):
        if name in fields:
            ids = pl.col(name)
            masks |= {f"null {name}": ids.is_null(), f"empty {name}": ids == ""}
            masks |= {f"zero in {name}": ids.str.contains("\0", literal=True)}
            masks |= {f"long {name}": ids.str.len_chars() > MAX_ID_LENGTH}
    for name in ("timestamp", RAW_TIME):
        if name in fields:
            masks["unreadable timestamp"] = pl.col(name).is_null()
    if "weight" in fields:
        weights = pl.col("weight")
        masks |= {"unreadable weight": weights.is_null(), "weight not finite": ~weights.is_finite()}
        masks |= {"negative weight": weights < 0}
    if "split" in fields:
        masks["unknown split"] = ~pl.col("split").is_in(SPLITS).fill_null(value=False)
    assert set(masks) <= set(_PROBLEMS)
    return pl.coalesce(pl.when(mask).then(pl.lit(reason)) for reason, mask in masks.items())


def _count_problems(part: pl.LazyFrame) -> dict[str, int]:
    found = part.select(PROBLEM).drop_nulls().group_by(PROBLEM).len().sort(PROBLEM).collect(engine="streaming")
    return dict(found.iter_rows())


def _refusal(part: pl.LazyFrame, rows: pl.LazyFrame, reading: LogReading, name: str) -> BadInputError:
    """Names the first row that cannot be used, with the value that stands in the file."""
    numbered = part.select(PROBLEM).with_row_index("row").filter(pl.col(PROBLEM).is_not_null())
    row, reason = numbered.head(1).collect().row(0)
    count = part.select(pl.col(PROBLEM).is_not_null().sum()).collect(engine="streaming").item()
    named = next(name for name in reading.mapping if name in reason.split())
    column = reading.mapping[named]
    value = rows.select(column).slice(row, 1).collect().item()
    shown = repr(value) if len(repr(value)) <= MAX_SHOWN else f"{repr(value)[:MAX_SHOWN]}..."
    said, cure = _PROBLEMS[reason]
    return BadInputError(
        f"{name}: column {column!r} ({named}), row {row}: {shown} {said} ({count} rows that cannot be used in this "
        f"file); {_CURES[cure]}"
    )


MAX_SHOWN: Final = 80
"""Characters of a value in a message."""


def _time_range(part: pl.LazyFrame) -> list[tuple[float, float]]:
    times = pl.col(RAW_TIME)
    low, high = part.select(low=times.min(), high=times.max()).collect(engine="streaming").row(0)
    return [] if low is None else [(low, high)]
