"""The interactions of a snapshot: those of the dataset folder, and the archived events behind them.

With time: every event is a row with its time, and what is held out is the last of each user (`split` of the base would
keep yesterday's test for ever). A sender's clock may be wrong: a time before 2000 or after the arrival becomes the time
of arrival. All rows count alike, whatever their type.

Without time a history is a set, and stays one: of an event counts the pair of user and item alone, once. What was held
out stays held out, or the served release would be judged by what it has learned: the split of the last snapshot is
kept, then that of the base (its column, else the draw of `load_dataset`), and of new pairs a tenth each is held out.
"""

import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import polars as pl

from offline import splits
from offline.dataset_checks import InteractionLog
from offline.retraining.forgotten import Tombstone

FIRST_MS = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp() * 1000)
MOST_AHEAD_MS = 10 * 60 * 1000
"""A clock may be ahead of the arrival by so much."""
_PAIR = ["user_id", "item_id"]


class Rows(NamedTuple):
    """The rows of a snapshot, and what became of those that are not in it.

    Attributes:
        frame: as a dataset folder has them.
        counts: of what was left out or changed.
    """

    frame: pl.DataFrame
    counts: dict[str, int]


def known_events(events: pl.DataFrame, item_ids: pl.Series) -> Rows:
    """Events with items of the catalogue, each with a time that can be; in the order of time, then of arrival."""
    known = events.filter(pl.col("item_id").is_in(item_ids.implode()))
    ahead, behind = pl.col("timestamp") > pl.col("arrived") + MOST_AHEAD_MS, pl.col("timestamp") < FIRST_MS
    counts = {
        "unknown_items": events.height - known.height,
        "clock_ahead": int(known.select(ahead.sum()).item()),
        "clock_behind": int(known.select(behind.sum()).item()),
    }
    times = pl.when(ahead | behind).then(pl.col("arrived")).otherwise(pl.col("timestamp"))
    ordered = known.with_columns(timestamp=times).sort("timestamp", "arrived", "sequence", maintain_order=True)
    return Rows(ordered, counts)


def base_rows(table: pl.DataFrame, forgotten: Mapping[str, Tombstone]) -> Rows:
    """Base interactions without those of users who asked to be forgotten since; `timestamp` as `comparable_times`."""
    if not forgotten:
        return Rows(table, {"forgotten": 0})
    before = pl.col("user_id").replace_strict(
        {user: tombstone.entry.arrived_ms for user, tombstone in forgotten.items()}, default=None, return_dtype=pl.Int64
    )
    gone = before.is_not_null()
    if "timestamp" in table.columns:
        gone = (pl.col("timestamp") <= before).fill_null(False)
    kept = table.filter(~gone)
    return Rows(kept, {"forgotten": table.height - kept.height})


def comparable_times(times: pl.Series) -> pl.Series:
    """Times as milliseconds since 1970, where their size says what they are; other numbers only order, and come first.

    Seconds, milliseconds, micro- and nanoseconds of the years 1973 to 5138 do not overlap.
    """
    if isinstance(times.dtype, pl.Datetime | pl.Date):
        return times.cast(pl.Datetime("ms")).to_physical().cast(pl.Int64)
    latest = float(times.max() or 0)  # type: ignore[arg-type]
    for factor, begin in ((1000.0, 1e8), (1.0, 1e11), (1e-3, 1e14), (1e-6, 1e17)):
        if begin <= latest < 1000 * begin:
            if factor == 1.0 and times.dtype.is_integer():
                return times.cast(pl.Int64)
            if times.dtype.is_integer():
                times = times.cast(pl.Int64)
                return times * 1000 if factor > 1 else times // round(1 / factor)
            return (times.cast(pl.Float64) * factor).cast(pl.Int64)
    return times.cast(pl.Float64)


def with_time(base: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """Base rows, then events; without `split`, which is made anew by time."""
    columns = [*_PAIR, "timestamp", "event", "weight"]
    absent = {"event": pl.lit(None, pl.String), "weight": pl.lit(1.0, pl.Float64)}
    base = base.with_columns(**{name: value for name, value in absent.items() if name not in base.columns})
    base = base.select(*_PAIR, "timestamp", pl.col("event").cast(pl.String), pl.col("weight").cast(pl.Float64))
    later = events.select(columns).with_columns(
        pl.col("timestamp").cast(base.schema["timestamp"]), pl.col("weight").fill_null(1.0)
    )
    return pl.concat([base, later])


def without_time(
    base: pl.DataFrame, events: pl.DataFrame, splits_known: Sequence[pl.DataFrame], seed: int
) -> pl.DataFrame:
    """Every pair of user and item once, with the split that it keeps.

    Args:
        base: what counts of the base.
        events: see `known_events`.
        splits_known: pairs and their `split`, each pair once; the first that knows a pair decides.
        seed: of the draw for pairs that none of them knows.
    """
    pairs = pl.concat([base.select(_PAIR), events.select(_PAIR)]).unique(maintain_order=True)
    names = [f"split_{place}" for place in range(len(splits_known))]
    for name, known in zip(names, splits_known, strict=True):
        pairs = pairs.join(known.rename({"split": name}), on=_PAIR, how="left", maintain_order="left")
    split = pairs.select(pl.coalesce(names)).to_series().to_list()
    users, items = pairs["user_id"], pairs["item_id"]
    drawn = [name or _drawn(users[row], items[row], seed) for row, name in enumerate(split)]
    return pairs.select(_PAIR).with_columns(pl.Series("split", drawn, dtype=pl.String))


def split_of(log: InteractionLog, item_ids: pl.Series, seed: int) -> pl.DataFrame:
    """Pairs of a dataset without time and their `split`: what its column says, else what `load_dataset` would draw."""
    users, items = (log.rows[name].to_numpy().astype(np.int64) for name in ("user", "item"))
    kept = splits.first_of_each_pair(users, items)
    users, items = users[kept], items[kept]
    if log.has_split:
        codes = log.rows["split"].to_numpy()[kept].astype(np.int8)
    else:
        codes = splits.random_split(users, items, seed=seed)
    return pl.DataFrame(
        {
            "user_id": pl.Series(log.user_ids, dtype=pl.String)[users],
            "item_id": item_ids.cast(pl.String)[items],
            "split": pl.Series(splits.SPLITS, dtype=pl.String)[codes.astype(np.int64)],
        }
    )


def _drawn(user_id: str, item_id: str, seed: int) -> splits.Split:
    """A tenth to test, a tenth to valid; the draw belongs to the pair, so it is the same every night."""
    place = zlib.crc32(f"{seed}\0{user_id}\0{item_id}".encode()) % 10
    return "test" if place == 0 else "valid" if place == 1 else "train"
