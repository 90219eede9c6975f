"""A log as numbers on disk: one user, item and time per row, read a stretch at a time and never mapped.

Mapped files would count as this process's memory although the system can take it back; reading keeps the figure honest.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from offline.importing.spool import Spool

STRETCH_ROWS: Final = 2_000_000
"""Rows of numbers that are in memory together."""
_ENCODED_ROWS: Final = 1_000_000
"""Rows of ids that are looked up together: every look-up sorts all known ids into a table first."""

CodeArray = npt.NDArray[np.uint32]
TimeArray = npt.NDArray[np.int64]
MaskArray = npt.NDArray[np.bool_]


class Stretch(NamedTuple):
    """Consecutive rows."""

    start: int
    users: CodeArray
    items: CodeArray
    times: TimeArray | None


class RowCodes(NamedTuple):
    """One entry per row of a spool, in its order, in files."""

    folder: Path
    num_rows: int
    num_users: int  # users are below it, in the order of their ids
    num_items: int
    with_time: bool

    def stretches(self) -> Iterator[Stretch]:
        """All rows, at most `STRETCH_ROWS` at a time."""
        for start in range(0, self.num_rows, STRETCH_ROWS):
            count = min(STRETCH_ROWS, self.num_rows - start)
            users = np.fromfile(self.folder / "users.u32", np.uint32, count, offset=4 * start)
            items = np.fromfile(self.folder / "items.u32", np.uint32, count, offset=4 * start)
            times = None
            if self.with_time:
                times = np.fromfile(self.folder / "times.i64", np.int64, count, offset=8 * start)
            yield Stretch(start, users, items, times)

    def where(self, keep: MaskArray, folder: Path) -> "RowCodes":
        """The rows to keep, in files of their own; users and items have the same numbers as before.

        Args:
            keep: [num_rows].
            folder: for the files.
        """
        writer = _Writer(folder, with_time=self.with_time)
        for part in self.stretches():
            inside = np.asarray(keep[part.start : part.start + len(part.users)])
            writer.write(part.users[inside], part.items[inside], None if part.times is None else part.times[inside])
        return self._replace(folder=folder, num_rows=writer.num_rows)


def encode_rows(spool: Spool, folder: Path, *, with_time: bool) -> RowCodes:
    """Number the users and items of a spool; in memory are their ids, never the rows.

    Args:
        spool: not empty, with user_id and item_id and, if asked for, timestamp.
        folder: for the files: 8 bytes a row, and 8 for its time.
        with_time: whether times are wanted.
    """
    ids = {name: pl.Enum(_ids(spool, name)) for name in ("user_id", "item_id")}
    writer = _Writer(folder, with_time=with_time)
    for rows in _together(spool, ["user_id", "item_id", *(["timestamp"] if with_time else [])]):
        users, items = (
            rows[name].cast(kind).to_physical().cast(pl.UInt32).to_numpy(writable=True) for name, kind in ids.items()
        )
        writer.write(users, items, rows["timestamp"].to_numpy() if with_time else None)
    sizes = [len(kind.categories) for kind in ids.values()]
    return RowCodes(folder, writer.num_rows, sizes[0], sizes[1], with_time)


class _Writer:
    """Appends rows to the files of a new folder."""

    def __init__(self, folder: Path, *, with_time: bool) -> None:
        folder.mkdir(parents=True)
        self._names = ["users.u32", "items.u32", *(["times.i64"] if with_time else [])]
        self._folder = folder
        self.num_rows = 0

    def write(self, users: CodeArray, items: CodeArray, times: TimeArray | None) -> None:
        for name, values in zip(self._names, (users, items, times), strict=False):
            assert values is not None
            with (self._folder / name).open("ab") as file:
                values.tofile(file)
        self.num_rows += len(users)


def _together(spool: Spool, columns: list[str]) -> Iterator[pl.DataFrame]:
    held: list[pl.DataFrame] = []
    for chunk in spool.chunks(columns):
        held.append(chunk.rows)
        if sum(rows.height for rows in held) >= _ENCODED_ROWS:
            yield pl.concat(held)
            held = []
    if held:
        yield pl.concat(held)


def _ids(spool: Spool, name: str) -> pl.Series:
    return spool.scan().select(name).unique().collect(engine="streaming").to_series().sort()
