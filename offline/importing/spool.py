"""Rows on disk between two steps of an import, so that memory follows a chunk and not the log."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

CHUNK_ROWS = 250_000
"""Rows that are looked at together; also the row groups of what is written."""


class Chunk(NamedTuple):
    """Some rows of a spool, in its order."""

    part: int  # of which file of the spool
    first_row: int  # within that file
    rows: pl.DataFrame


class Spool:
    """Parquet files in a folder of their own, read in the order in which they were written.

    Args:
        folder: made if it is absent; whoever made the spool removes it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._heights: list[int] = []

    @property
    def height(self) -> int:
        """Rows of all parts."""
        return sum(self._heights)

    def sink(self, rows: pl.LazyFrame) -> int:
        """Write rows that may be more than memory holds as one part; returns how many they are."""
        path = self._path(len(self._heights))
        rows.sink_parquet(path, row_group_size=CHUNK_ROWS, compression="lz4", engine="streaming")
        self._heights.append(pl.scan_parquet(path, glob=False).select(pl.len()).collect().item())
        return self._heights[-1]

    def append(self, rows: pl.DataFrame) -> None:
        """Write a chunk as one part; none of an empty one."""
        if rows.height:
            rows.write_parquet(self._path(len(self._heights)), row_group_size=CHUNK_ROWS, compression="lz4")
            self._heights.append(rows.height)

    def part(self, number: int) -> pl.LazyFrame:
        """The rows of one part."""
        return pl.scan_parquet(self._path(number), glob=False, hive_partitioning=False)

    def chunks(self, columns: Sequence[str] | None = None) -> Iterator[Chunk]:
        """All rows, at most `CHUNK_ROWS` at a time, with all columns or those named."""
        for number, height in enumerate(self._heights):
            for start in range(0, height, CHUNK_ROWS):
                part = self.part(number).slice(start, CHUNK_ROWS)
                yield Chunk(number, start, (part if columns is None else part.select(columns)).collect())

    def scan(self) -> pl.LazyFrame:
        """All rows, lazily.

        Raises:
            ValueError: the spool is empty.
        """
        if not self._heights:
            raise ValueError("an empty spool has no columns")
        paths = [self._path(number) for number in range(len(self._heights))]
        return pl.scan_parquet(paths, glob=False, hive_partitioning=False)

    def remove(self) -> None:
        """Give the disk back; the rows are elsewhere by now."""
        shutil.rmtree(self._folder)
        self._heights = []

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.parquet"
