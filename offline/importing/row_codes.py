"""A log as numbers on disk: one user, item and time per row, read a stretch at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from offline.importing.spool import Spool

STRETCH_ROWS: Final = 4_000_000
"""Rows of numbers that are in memory together."""

CodeArray = npt.NDArray[np.uint32]
TimeArray = npt.NDArray[np.int64]


class Stretch(NamedTuple):
    """Consecutive rows."""

    start: int
    users: CodeArray
    items: CodeArray
    times: TimeArray | None


class RowCodes(NamedTuple):
    """One entry per row of a spool, in its order, in files that are mapped and not in memory."""

    users: CodeArray  # [M] below num_users, in the order of the ids
    items: CodeArray  # [M] below num_items
    times: TimeArray | None  # [M] milliseconds, None without time
    num_users: int
    num_items: int

    def stretches(self) -> Iterator[Stretch]:
        """All rows, at most `STRETCH_ROWS` at a time."""
        for start in range(0, len(self.users), STRETCH_ROWS):
            part = slice(start, start + STRETCH_ROWS)
            times = None if self.times is None else np.asarray(self.times[part])
            yield Stretch(start, np.asarray(self.users[part]), np.asarray(self.items[part]), times)


def encode_rows(spool: Spool, folder: Path, *, with_time: bool) -> RowCodes:
    """Number the users and items of a spool; in memory are their ids, never the rows.

    Args:
        spool: not empty, with user_id and item_id and, if asked for, timestamp.
        folder: for the files: 8 bytes a row, and 8 for its time.
        with_time: whether times are wanted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ids = {name: pl.Enum(_ids(spool, name)) for name in ("user_id", "item_id")}
    users = _array(folder / "users.u32", spool.height, np.uint32)
    items = _array(folder / "items.u32", spool.height, np.uint32)
    times = _array(folder / "times.i64", spool.height, np.int64) if with_time else None
    row = 0
    for chunk in spool.chunks(["user_id", "item_id", *(["timestamp"] if with_time else [])]):
        part = slice(row, row + chunk.rows.height)
        users[part] = chunk.rows["user_id"].cast(ids["user_id"]).to_physical().to_numpy()
        items[part] = chunk.rows["item_id"].cast(ids["item_id"]).to_physical().to_numpy()
        if times is not None:
            times[part] = chunk.rows["timestamp"].to_numpy()
        row = part.stop
    return RowCodes(users, items, times, len(ids["user_id"].categories), len(ids["item_id"].categories))


def _ids(spool: Spool, name: str) -> pl.Series:
    return spool.scan().select(name).unique().collect(engine="streaming").to_series().sort()


def _array(path: Path, rows: int, kind: type[Any]) -> npt.NDArray[Any]:
    return np.memmap(path, dtype=kind, mode="w+", shape=(rows,))
