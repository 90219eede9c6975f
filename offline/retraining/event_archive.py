"""The long-term log: events of the streams in Parquet files by day of arrival, each event exactly once.

```
DIR/events/date=2026-11-28/part-<partition>-<first entry>-<last entry>.parquet
DIR/events/partition-<partition>.json   the index: which files count, and up to which entry the stream was read
DIR/events/forgotten.json               who asked to be forgotten, see offline.retraining.forgotten
```

A stream holds an event at least once; copies are known by user and event id, whenever they come. Events without an id
cannot be told from their copies, so all of them count.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import polars as pl

from offline import progress
from offline.errors import BadInputError
from offline.file_digest import sha256_of_file
from offline.folder_lock import locked_folder
from offline.retraining.archive_index import ArchivedFile, PartitionIndex, indexed_partitions, read_index
from offline.retraining.durable_files import sync_folder, write_parquet_durably
from offline.retraining.event_streams import BEFORE_ALL, EntryId, Fields
from service.contract.event_stream import Forgotten, StoredEvent, read_entry

FOLDER = "events"
MOST_ROWS = 200_000
"""Events of one file; so many are in memory at a time."""

SCHEMA = pl.Schema(
    {
        "user_id": pl.String,
        "item_id": pl.String,
        "timestamp": pl.Int64,  # when it happened, as its sender says; milliseconds since 1970 UTC
        "event": pl.String,
        "weight": pl.Float64,
        "event_id": pl.String,
        "arrived": pl.Int64,  # these two are the id of the stream entry
        "sequence": pl.Int64,
    }
)
_LAST_MS = 253_402_300_799_000  # in the year 9999; ids that others chose may be larger
_NAME = re.compile(r"part-(\d+)-\d+-\d+-\d+-\d+(\.\d+)?\.parquet")

Pages = Iterable[list[tuple[EntryId, Fields]]]


class EventArchive:
    """The archive of one dataset folder, for the streams of one namespace.

    Args:
        data: the dataset folder.
        namespace: whose streams they are.
    """

    def __init__(self, data: Path, namespace: str) -> None:
        self.folder = data / FOLDER
        self.namespace = namespace

    @contextmanager
    def locked(self, *, wait_seconds: float = 0.0) -> Iterator[None]:
        """Make the folder and hold it for one job; the lock ends with the process. Windows has no such lock.

        Args:
            wait_seconds: for a job that holds it.

        Raises:
            LockedError: another job changes the archive, and for longer than that.
            BadInputError: the dataset folder is not there; it is not made, for it would be an empty one.
        """
        try:
            self.folder.mkdir(exist_ok=True)
        except FileNotFoundError:
            raise BadInputError(f"{self.folder.parent}: no such folder; correct --data") from None
        with locked_folder(self.folder, f"another job changes {self.folder}; wait for it", wait_seconds=wait_seconds):
            yield

    def index(self, partition: int) -> PartitionIndex:
        """What is archived of a partition; nothing where nothing is.

        Raises:
            BadInputError: see `read_index`.
        """
        found = read_index(self.folder, partition, self.namespace)
        return found or PartitionIndex(partition=partition, namespace=self.namespace)

    def watermarks(self) -> dict[int, EntryId]:
        """The last entry that was archived of every partition.

        Raises:
            BadInputError: see `read_index`.
        """
        found = {partition: self.index(partition).watermark for partition in indexed_partitions(self.folder)}
        return {partition: watermark for partition, watermark in found.items() if watermark > BEFORE_ALL}

    def append(
        self, partition: int, pages: Pages, up_to: EntryId, remember: Callable[[dict[str, EntryId]], None]
    ) -> dict[str, int]:
        """Archive the entries that come behind the watermark; `up_to` is the watermark afterwards.

        Doing it again does nothing and gives the same counts.

        Args:
            partition: of the stream.
            pages: entries behind the watermark, in their order, none after `up_to`.
            up_to: the last one that there may be.
            remember: is told who is to be forgotten and by which entry, before the index is replaced.

        Returns:
            Entries `read`, events `archived`, `duplicates`, entries `unreadable`, `tombstones`.

        Raises:
            BadInputError: the archive cannot be used.
        """
        index = self.index(partition)
        if index.watermark >= up_to:
            counts = {name: value for name, value in index.last.items() if name != "up_to"}
            return counts if index.last.get("up_to") == str(up_to) else dict.fromkeys(counts, 0)
        if index.watermark == BEFORE_ALL and not index.files:
            index.write(self.folder)  # from now on, files without an index mean that the index was lost
        self.remove_leftovers(partition)
        batch = _Batch(self, index)
        for page in pages:
            batch.add(page)
        batch.flush()
        remember(batch.forgotten)
        counts = batch.counts()
        last = {**counts, "up_to": str(up_to)}
        replace(index, watermark=up_to, files=(*index.files, *batch.files), last=last).write(self.folder)
        return counts

    def remove_leftovers(self, partition: int) -> None:
        """Remove files that a killed job left: those of the partition that its index does not name."""
        named = {file.name for file in self.index(partition).files}
        for path in self.folder.glob("date=*/*"):
            matched = _NAME.fullmatch(path.name)
            ours = matched is not None and int(matched[1]) == partition
            if path.name.endswith(".part") or (ours and self._name(path) not in named):
                path.unlink(missing_ok=True)

    def files(self) -> list[ArchivedFile]:
        """Every file of every partition.

        Raises:
            BadInputError: an index cannot be read.
        """
        return [file for partition in indexed_partitions(self.folder) for file in self.index(partition).files]

    def verified(self, files: Sequence[ArchivedFile]) -> list[Path]:
        """The paths of files, each of them whole.

        Raises:
            BadInputError: one is missing or has changed.
        """
        paths = [self.folder / file.name for file in files]
        for path, file in zip(paths, files, strict=True):
            try:
                if sha256_of_file(path) == file.sha256:
                    continue
                problem = "its bytes are not those that were archived"
            except OSError as error:
                problem = str(error)
            raise BadInputError(f"{path} is damaged ({problem}); restore it from a backup")
        return paths

    def write(self, partition: int, frame: pl.DataFrame, first: EntryId, last: EntryId) -> ArchivedFile:
        """Write one file; it counts once an index names it."""
        name = f"date={_day(first)}/part-{partition}-{first}-{last}.parquet"
        digest = write_parquet_durably(self.folder / name, frame)
        sync_folder(self.folder)
        return ArchivedFile(name, frame.height, digest)

    def write_again(self, file: ArchivedFile, frame: pl.DataFrame) -> ArchivedFile:
        """Write what shall stand in the place of a file, under the next name; it counts once an index names it."""
        stem, _, revision = file.name.removesuffix(".parquet").partition(".")
        name = f"{stem}.{int(revision or 0) + 1}.parquet"
        return ArchivedFile(name, frame.height, write_parquet_durably(self.folder / name, frame))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


class _Batch:
    """What one call of `append` reads, written file by file: of one day each, and not larger than `MOST_ROWS`."""

    def __init__(self, archive: EventArchive, index: PartitionIndex) -> None:
        self.files: list[ArchivedFile] = []
        self.forgotten: dict[str, EntryId] = {}
        self._archive = archive
        self._index = index
        self._rows: list[tuple[Any, ...]] = []
        self._read = self._unreadable = self._duplicates = self._tombstones = 0

    def add(self, page: list[tuple[EntryId, Fields]]) -> None:
        for day, entries in groupby(page, key=lambda entry: _day(entry[0])):
            if self._rows and (len(self._rows) >= MOST_ROWS or _day(EntryId(*self._rows[-1][-2:])) != day):
                self.flush()
            for entry_id, fields in entries:
                self._add_entry(entry_id, fields)

    def _add_entry(self, entry_id: EntryId, fields: Fields) -> None:
        self._read += 1
        try:
            entry = read_entry(fields)
        except ValueError as error:
            if not self._unreadable:
                progress.say(f"warning: events:{self._index.partition}, entry {entry_id}: {error}")
            self._unreadable += 1
            return
        if isinstance(entry, Forgotten):
            self._tombstones += 1
            self.forgotten[entry.user_id] = entry_id
        else:
            self._rows.append(_row(entry, entry_id))

    def flush(self) -> None:
        if not self._rows:
            return
        first, last = EntryId(*self._rows[0][-2:]), EntryId(*self._rows[-1][-2:])
        frame = pl.DataFrame(self._rows, SCHEMA, orient="row")
        kept = self._without_known(without_copies(frame))
        self._duplicates += frame.height - kept.height
        self._rows = []
        if kept.height:
            self.files.append(self._archive.write(self._index.partition, kept, first, last))

    def _without_known(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The events that no file of the partition has. Only ids are read, and only those in `frame` are kept."""
        files = [*self._index.files, *self.files]
        named = frame.filter(pl.col("event_id").is_not_null()).select("user_id", "event_id")
        if not files or named.is_empty():
            return frame
        archived = scan([self._archive.folder / file.name for file in files]).select("user_id", "event_id")
        known = archived.join(named.lazy(), on=["user_id", "event_id"], how="semi").unique().collect()
        return frame.join(known, on=["user_id", "event_id"], how="anti", maintain_order="left")

    def counts(self) -> dict[str, int]:
        return {
            "read": self._read,
            "archived": sum(file.rows for file in self.files),
            "duplicates": self._duplicates,
            "unreadable": self._unreadable,
            "tombstones": self._tombstones,
        }


def scan(paths: Sequence[Path], path_column: str | None = None) -> pl.LazyFrame:
    """Files of the archive, to be read as needed; `path_column` names one more, with the file of each row."""
    return pl.scan_parquet(
        list(paths), glob=False, hive_partitioning=False, schema=SCHEMA, include_file_paths=path_column
    )


def without_copies(events: pl.DataFrame) -> pl.DataFrame:
    """Events in the same order, each event id of a user once, where it came first."""
    copies = pl.col("event_id").is_not_null() & ~pl.struct("user_id", "event_id").is_first_distinct()
    return events.filter(~copies)


def _row(event: StoredEvent, entry_id: EntryId) -> tuple[Any, ...]:
    return (event.user_id, event.item_id, event.time_ms, event.event, event.weight, event.event_id, *entry_id)


def _day(entry_id: EntryId) -> str:
    """Day of arrival, UTC: it never goes back, whatever clocks the senders have."""
    return f"{datetime.fromtimestamp(min(entry_id.arrived_ms, _LAST_MS) / 1000, UTC):%Y-%m-%d}"
