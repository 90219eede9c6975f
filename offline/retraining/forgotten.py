"""Who asked to be forgotten: kept as long as the archive, because other sources may bring the same users again.

`DELETE /users/{id}/history` leaves a tombstone in the user's stream, `forget` writes one here. What arrived before it
is removed from the archive, file by file, and left out of every snapshot; so are base interactions of that user, unless
their time is later. What the user does afterwards counts again.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import polars as pl

from offline.errors import BadInputError
from offline.retraining.archive_index import ArchivedFile, PartitionIndex, indexed_partitions
from offline.retraining.durable_files import write_json_durably
from offline.retraining.event_archive import EventArchive, scan
from offline.retraining.event_streams import EntryId

NAME = "forgotten.json"


class Tombstone(NamedTuple):
    """One user's.

    Attributes:
        entry: what arrived before it is to go.
        removed: whether it has gone from the archive.
    """

    entry: EntryId
    removed: bool


def read_forgotten(folder: Path) -> dict[str, Tombstone]:
    """Every user's tombstone, the last one.

    Raises:
        BadInputError: the file cannot be read.
    """
    path = folder / NAME
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return {user: Tombstone(EntryId.parse(entry), bool(removed)) for user, (entry, removed) in raw.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise BadInputError(
            f"{path} cannot be read ({error}); restore it from a backup: without it nobody knows who is to be forgotten"
        ) from error


def remember_forgotten(folder: Path, entries: Mapping[str, EntryId]) -> None:
    """Add tombstones; of one user the last one counts.

    Raises:
        BadInputError: the file cannot be read.
    """
    known = read_forgotten(folder)
    later = {user: entry for user, entry in entries.items() if user not in known or known[user].entry < entry}
    if later:
        _write(folder, known | {user: Tombstone(entry, removed=False) for user, entry in later.items()})


def remove_forgotten(archive: EventArchive) -> int:
    """Remove what is to go from the archive's files, each rewritten whole or not at all; gives the number of events.

    Raises:
        BadInputError: the archive is damaged.
    """
    partitions = indexed_partitions(archive.folder)
    for partition in partitions:
        archive.remove_leftovers(partition)
    known = read_forgotten(archive.folder)
    pending = {user: tombstone for user, tombstone in known.items() if not tombstone.removed}
    if not pending:
        return 0
    removed = sum(_remove_from(archive, archive.index(partition), pending) for partition in partitions)
    _write(archive.folder, known | {user: tombstone._replace(removed=True) for user, tombstone in pending.items()})
    return removed


def without_forgotten(events: pl.LazyFrame, forgotten: Mapping[str, Tombstone]) -> pl.LazyFrame:
    """Events without those that arrived before their user's tombstone, in the same order."""
    return (
        events.join(_as_frame(forgotten), on="user_id", how="left", maintain_order="left")
        .filter(~_IS_BEFORE)
        .select(pl.all().exclude("forgotten_arrived", "forgotten_sequence"))
    )


_IS_BEFORE = (
    (pl.col("arrived") < pl.col("forgotten_arrived"))
    | ((pl.col("arrived") == pl.col("forgotten_arrived")) & (pl.col("sequence") < pl.col("forgotten_sequence")))
).fill_null(False)


def _as_frame(forgotten: Mapping[str, Tombstone]) -> pl.LazyFrame:
    rows: Iterable[tuple[str, int, int]] = [(user, *tombstone.entry) for user, tombstone in forgotten.items()]
    schema = {"user_id": pl.String, "forgotten_arrived": pl.Int64, "forgotten_sequence": pl.Int64}
    return pl.LazyFrame(rows, schema, orient="row")


def _remove_from(archive: EventArchive, index: PartitionIndex, forgotten: Mapping[str, Tombstone]) -> int:
    if not index.files:
        return 0
    paths = {str(archive.folder / file.name): file for file in index.files}
    events = scan([Path(path) for path in paths], "path").join(_as_frame(forgotten), on="user_id", how="inner")
    touched = {paths[path] for path in events.filter(_IS_BEFORE).select("path").unique().collect()["path"]}
    if not touched:
        return 0
    files: list[ArchivedFile] = []
    for file in index.files:
        if file in touched:
            (path,) = archive.verified([file])
            kept = without_forgotten(scan([path]), forgotten).collect()
            files += [archive.write_again(file, kept)] if kept.height else []
        else:
            files.append(file)
    replace(index, files=tuple(files)).write(archive.folder)
    archive.remove_leftovers(index.partition)
    return sum(file.rows for file in index.files) - sum(file.rows for file in files)


def _write(folder: Path, tombstones: Mapping[str, Tombstone]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    raw = {user: [str(tombstone.entry), tombstone.removed] for user, tombstone in tombstones.items()}
    write_json_durably(folder / NAME, raw)
