"""From a staged log to the rows of interactions.parquet: one pass over the disk per step."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import numpy as np
import polars as pl

from offline import progress
from offline.errors import BadInputError
from offline.importing import field_values
from offline.importing.column_map import LOG_FIELDS
from offline.importing.field_values import TimeUnit
from offline.importing.held_out import REPEATED, leave_one_out_codes, time_cuts
from offline.importing.k_core import k_core
from offline.importing.row_codes import RowCodes, encode_rows
from offline.importing.spool import Spool
from offline.importing.staging import PROBLEM, RAW_TIME, StagedLog, to_milliseconds
from offline.importing.watermark import NewerRows
from offline.splits import SPLITS

Split = Literal["none", "time", "leave-one-out"]

UnknownItems = Literal["add", "drop", "refuse"]

MOST_AHEAD_MS: Final = 24 * 60 * 60 * 1000
"""How far ahead of this machine's clock a time may be: as much as the service takes of an event."""

LATE: Final = "older than the watermark"
"""Why a row was dropped that came after newer ones had been imported."""


@dataclass(frozen=True, kw_only=True)
class LogFilters:
    """Which rows of a log are kept, and how they are split."""

    min_rating: float | None = None
    k_core: tuple[int, int] | None = None
    """Fewest interactions of a user and of an item."""
    split: Split = "none"
    valid_share: float = 0.1
    test_share: float = 0.1
    drop_bad_rows: bool = False
    unknown_items: UnknownItems | None = None
    """What becomes of items that the table of items lacks; None for what the last import did, else add."""


@dataclass(kw_only=True)
class KeptLog:
    """What the steps have left."""

    spool: Spool
    dropped: Counter[str] = field(default_factory=Counter)
    """Reason -> rows."""
    watermark: int | None = None
    time_unit: TimeUnit | None = None


def keep_rows(
    staged: StagedLog,
    filters: LogFilters,
    folder: Path,
    *,
    time_unit: TimeUnit | None,
    known_items: pl.Series | None,
    newer: NewerRows | None,
) -> KeptLog:
    """Run all steps.

    Args:
        staged: the log as it was read.
        filters: what to keep.
        folder: for what is written between the steps.
        time_unit: of times that are numbers; None to find it by their size.
        known_items: ids of the items with metadata; None where there is no table of them.
        newer: what keeps the new rows in an incremental import.

    Raises:
        BadInputError: a filter needs a field that the log lacks, a time lies ahead, an item is unknown and shall not
            be, or nothing is left.
    """
    _require_fields(staged, filters)
    if staged.raw_times is not None and time_unit is None:
        time_unit = field_values.unit_of(*staged.raw_times)
    kept = KeptLog(spool=Spool(folder / "clean"), time_unit=time_unit if staged.raw_times is not None else None)
    kept.dropped.update(staged.bad_rows)
    step = _Cleaning(staged, filters, kept, known_items, newer)
    for chunk in staged.chunks():
        kept.spool.append(step.clean(chunk.rows, staged.names[chunk.part], chunk.first_row))
    codes = None
    if kept.spool.height and (filters.k_core is not None or filters.split == "leave-one-out"):
        codes = encode_rows(kept.spool, folder / "codes", with_time=filters.split == "leave-one-out")
    if filters.k_core is not None and codes is not None:
        codes = _keep_core(kept, filters.k_core, codes, folder)
    if filters.split == "time" and kept.spool.height:
        _hold_out_newest(kept, filters, folder)
    if codes is not None and filters.split == "leave-one-out" and kept.spool.height:
        _hold_out_last(kept, codes, folder)
    return kept


class _Cleaning:
    """The step that looks at one row at a time."""

    def __init__(
        self,
        staged: StagedLog,
        filters: LogFilters,
        kept: KeptLog,
        known_items: pl.Series | None,
        newer: NewerRows | None,
    ) -> None:
        self._filters, self._kept, self._newer = filters, kept, newer
        self._known = (
            known_items.implode() if known_items is not None and filters.unknown_items in ("drop", "refuse") else None
        )
        self._latest = int(time.time() * 1000) + MOST_AHEAD_MS
        self._staged = staged

    def clean(self, rows: pl.DataFrame, name: str, first_row: int) -> pl.DataFrame:
        rows = rows.with_row_index("row", first_row).filter(pl.col(PROBLEM).is_null()).drop(PROBLEM)
        rows = to_milliseconds(rows, self._kept.time_unit)
        if "timestamp" in rows.columns:
            rows = self._without_future(rows, name)
            newest = rows["timestamp"].max()
            if newest is not None:
                assert isinstance(newest, int)
                known = self._kept.watermark
                self._kept.watermark = newest if known is None else max(newest, known)
        if self._filters.min_rating is not None:
            enough = rows.filter(pl.col("weight") >= self._filters.min_rating)
            rows = self._counted("below --min-rating", rows, enough)
        if self._known is not None:
            rows = self._known_only(rows, name)
        if self._newer is not None:  # at the end: what was left out the last time is not in the dataset either
            rows = self._new_only(rows, self._newer)
        return rows.select(name for name in LOG_FIELDS if name in rows.columns)

    def _without_future(self, rows: pl.DataFrame, name: str) -> pl.DataFrame:
        ahead = rows.filter(pl.col("timestamp") > self._latest)
        if not ahead.height or self._kept.time_unit == "order":
            return rows
        if not self._filters.drop_bad_rows:
            raise BadInputError(
                f"{name}: timestamp, row {ahead['row'][0]}: {ahead['timestamp'][0]} ms is more than a day ahead "
                f"of this machine's clock ({ahead.height - 1} more such rows beside it); an import that takes it would "
                "take nothing older afterwards: correct it, name the unit by --time-unit, or take --drop-bad-rows"
            )
        return self._counted("timestamp ahead", rows, rows.filter(pl.col("timestamp") <= self._latest))

    def _known_only(self, rows: pl.DataFrame, name: str) -> pl.DataFrame:
        assert self._known is not None
        known = rows["item_id"].is_in(self._known)
        if not known.all() and self._filters.unknown_items == "refuse":
            odd = rows.filter(~known)
            raise BadInputError(
                f"{name}: item_id, row {odd['row'][0]}: {odd['item_id'][0]!r} is not among the items "
                f"({odd.height - 1} more such rows beside it); add it there, or take --unknown-items add or drop"
            )
        return self._counted("unknown item", rows, rows.filter(known))

    def _new_only(self, rows: pl.DataFrame, newer: NewerRows) -> pl.DataFrame:
        new, late = newer.of(rows), newer.num_late(rows)
        if late:
            self._kept.dropped[LATE] += late
        if known := rows.height - new.height - late:
            self._kept.dropped["imported before"] += known
        return new

    def _counted(self, reason: str, before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
        if after.height < before.height:
            self._kept.dropped[reason] += before.height - after.height
        return after


def _keep_core(kept: KeptLog, least: tuple[int, int], codes: RowCodes, folder: Path) -> RowCodes:
    core = k_core(codes, least_of_user=least[0], least_of_item=least[1])
    inside = np.memmap(folder / "core.bool", dtype=np.bool_, mode="w+", shape=(codes.num_rows,))
    for part in codes.stretches():
        inside[part.start : part.start + len(part.users)] = core.has(part)
    progress.say(f"k-core: {int(inside.sum())} of {len(inside)} interactions after {core.rounds} rounds")
    _rewrite(kept, Spool(folder / "core"), inside, "below --k-core", lambda rows, _: rows)
    return codes.where(inside, folder / "core-codes")


def _hold_out_newest(kept: KeptLog, filters: LogFilters, folder: Path) -> None:
    spool = kept.spool
    cuts = time_cuts(
        lambda: (chunk.rows["timestamp"].to_numpy() for chunk in spool.chunks(["timestamp"])),
        spool.height,
        valid_share=filters.valid_share,
        test_share=filters.test_share,
    )
    _rewrite(
        kept,
        Spool(folder / "split"),
        np.ones(spool.height, np.bool_),
        "",
        lambda rows, _: rows.with_columns(_names(cuts.codes(rows["timestamp"].to_numpy()))),
    )


def _hold_out_last(kept: KeptLog, rows: RowCodes, folder: Path) -> None:
    codes = np.memmap(folder / "split.i8", dtype=np.int8, mode="w+", shape=(rows.num_rows,))
    leave_one_out_codes(rows, codes)
    _rewrite(
        kept,
        Spool(folder / "split"),
        codes != REPEATED,
        "repeated user and item",
        lambda chunk, places: chunk.with_columns(_names(np.asarray(codes[places]))),
    )


def _rewrite(
    kept: KeptLog,
    target: Spool,
    keep: "np.ndarray[tuple[int], np.dtype[np.bool_]]",
    reason: str,
    change: Callable[[pl.DataFrame, slice], pl.DataFrame],
) -> None:
    """The rows to keep into another spool, changed; the rest is counted under `reason`."""
    row = 0
    for chunk in kept.spool.chunks():
        places = slice(row, row + chunk.rows.height)
        target.append(change(chunk.rows, places).filter(pl.Series(np.asarray(keep[places]))))
        row = places.stop
    if row > target.height:
        kept.dropped[reason] += row - target.height
    kept.spool.remove()
    kept.spool = target


def _names(codes: "np.ndarray[tuple[int], np.dtype[np.int8]]") -> pl.Series:
    names = pl.Series("split", SPLITS)
    return names.gather(np.minimum(codes, len(SPLITS) - 1)).alias("split")


def _require_fields(staged: StagedLog, filters: LogFilters) -> None:
    if filters.min_rating is not None and "weight" not in staged.fields:
        raise BadInputError("--min-rating needs a rating: say which column by --map weight=COLUMN")
    if filters.split != "none" and "timestamp" not in staged.fields:
        raise BadInputError(f"--split {filters.split} needs a time: say which column by --map timestamp=COLUMN")
    if filters.split != "none" and "split" in staged.fields:
        raise BadInputError(
            f"--split {filters.split}: the source has a split already; leave it out by --map split=, or take "
            "--split none"
        )
    assert RAW_TIME not in staged.fields
