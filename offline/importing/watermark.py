"""What is new in a log since the last import: rows after its watermark, and late ones of the same moment."""

from collections import Counter
from pathlib import Path
from typing import Any, Final

import polars as pl

from offline.dataset_checks import INTERACTIONS_FILE

_KEY: Final = ("user_id", "item_id", "event", "weight")


class NewerRows:
    """Keeps the rows of a log that a dataset does not have yet, chunk after chunk.

    A row is new when its timestamp is later than the watermark. Of the rows at the watermark itself, those are new that
    the dataset does not have: the log is cut at any moment, and may later hold more rows of that same moment. A row
    that stands there n times counts n times, so importing the same log twice adds nothing. Rows before the watermark
    are never new: what comes later than that needs an import of the whole log, and `num_late` says how many there are.

    Args:
        folder: the dataset folder.
        watermark: the newest timestamp of the last import, milliseconds.
    """

    def __init__(self, folder: Path, watermark: int) -> None:
        self._watermark = watermark
        self._old = old = pl.scan_parquet(folder / INTERACTIONS_FILE, glob=False, hive_partitioning=False)
        self._has = [name for name in _KEY if name in old.collect_schema()]
        at_it = old.filter(pl.col("timestamp") == watermark).select(self._has).collect(engine="streaming")
        self._known = Counter(at_it.iter_rows())
        self._met: Counter[tuple[Any, ...]] = Counter()

    def of(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The new ones of a chunk, in its order."""
        late = rows["timestamp"] == self._watermark
        keep = (rows["timestamp"] > self._watermark).to_list()
        if late.any():
            places = late.arg_true().to_list()
            for place, key in zip(places, rows.filter(late).select(self._has).iter_rows(), strict=True):
                self._met[key] += 1
                keep[place] = self._met[key] > self._known[key]
        return rows.filter(pl.Series(keep, dtype=pl.Boolean))

    def num_late(self, rows: pl.DataFrame) -> int:
        """How many rows of a chunk are older than the watermark, but not in the dataset.

        Of the dataset, only the stretch of time of these rows is read, and only equal rows are in memory.
        """
        key = [*self._has, "timestamp"]
        older = rows.filter(pl.col("timestamp") < self._watermark).select(key)
        if older.is_empty():
            return 0
        stretch = pl.col("timestamp").is_between(older["timestamp"].min(), older["timestamp"].max())
        known = self._old.filter(stretch).select(key)
        late = older.lazy().join(known, on=key, how="anti", nulls_equal=True)
        return int(late.select(pl.len()).collect(engine="streaming").item())
