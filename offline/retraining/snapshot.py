"""The snapshot: a dataset folder of a run's own, which stays as it is whatever comes to the stream or the base."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from offline import progress
from offline.dataset import load_dataset
from offline.dataset_checks import (
    INTERACTIONS_FILE,
    ITEMS_FILE,
    InteractionLog,
    read_interactions,
    read_items,
    require_folder,
)
from offline.encoding.fingerprints import read_fingerprints
from offline.errors import BadInputError
from offline.retraining.event_archive import SCHEMA, EventArchive, scan, without_copies
from offline.retraining.event_streams import EntryId
from offline.retraining.forgotten import Tombstone, read_forgotten, without_forgotten
from offline.retraining.snapshot_rows import (
    Rows,
    base_rows,
    comparable_times,
    known_events,
    split_of,
    with_time,
    without_time,
)
from offline.run_folder import fingerprint

FOLDER = "dataset"
_HALF_WRITTEN = ".dataset-unfinished"


def write_snapshot(
    data: Path, run: Path, archive: EventArchive, cut: Mapping[int, EntryId], *, seed: int, earlier: Path | None
) -> dict[str, Any]:
    """Write `<run>/dataset`, whole or not at all; an earlier one is replaced.

    Args:
        data: the dataset folder.
        run: folder of the run.
        archive: of the dataset folder.
        cut: the last entry of every partition that counts.
        seed: of the split, where one is drawn.
        earlier: the snapshot that the served release was trained on; its split is kept where data has no time.

    Returns:
        Counts of what is in it and what was left out, and its `sha256`.

    Raises:
        BadInputError: the dataset or the archive cannot be used.
    """
    require_folder(data)
    item_ids = read_items(data / ITEMS_FILE)["item_id"]
    log = read_interactions(data / INTERACTIONS_FILE, item_ids)
    forgotten = read_forgotten(archive.folder)
    copies, events = _archived_events(archive, cut, forgotten)
    known = known_events(events, item_ids)
    base = base_rows(_base_table(data / INTERACTIONS_FILE, log), forgotten)
    unfinished = run / _HALF_WRITTEN
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    _copy_catalogue(data, unfinished)
    as_it_is = known.frame.is_empty() and not base.counts["forgotten"]
    if as_it_is and (log.has_time or log.has_split):
        shutil.copyfile(data / INTERACTIONS_FILE, unfinished / INTERACTIONS_FILE)
        interactions = log.rows.height
    else:
        frame = _frame(log, item_ids, base, known, seed, earlier)
        frame.write_parquet(unfinished / INTERACTIONS_FILE)
        interactions = frame.height
    _require_usable(unfinished, data, seed)
    target = run / FOLDER
    shutil.rmtree(target, ignore_errors=True)
    unfinished.rename(target)
    return {
        "sha256": fingerprint(target),
        "interactions": interactions,
        "items": len(item_ids),
        "events": known.frame.height,
        "copies": copies,
        **known.counts,
        **base.counts,
    }


def remove_snapshot(run: Path) -> None:
    """Remove the dataset of a run, also one that is half written; what is not there is no error."""
    for name in (FOLDER, _HALF_WRITTEN):
        shutil.rmtree(run / name, ignore_errors=True)


def _require_usable(unfinished: Path, data: Path, seed: int) -> None:
    """Ask now what training would ask, so that bad data ends the night before there is a run to go on with.

    Raises:
        BadInputError: it cannot be trained on; the message names the file of the dataset folder.
    """
    try:
        load_dataset(unfinished, seed=seed)
        read_fingerprints(unfinished / "features")
    except BadInputError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise BadInputError(str(error).replace(str(unfinished), str(data))) from error


def _archived_events(
    archive: EventArchive, cut: Mapping[int, EntryId], forgotten: Mapping[str, Tombstone]
) -> tuple[int, pl.DataFrame]:
    """Events up to the cut in the order of arrival, and how many copies in other partitions were left out."""
    parts = []
    for partition, last in sorted(cut.items()):
        if files := archive.index(partition).files:
            before = pl.col("arrived") < last.arrived_ms
            at = (pl.col("arrived") == last.arrived_ms) & (pl.col("sequence") <= last.sequence)
            parts.append(scan(archive.verified(files)).filter(before | at))
    if not parts:
        return 0, pl.DataFrame(schema=SCHEMA)
    events = without_forgotten(pl.concat(parts), forgotten).sort("arrived", "sequence", maintain_order=True).collect()
    distinct = without_copies(events)
    return events.height - distinct.height, distinct


def _base_table(path: Path, log: InteractionLog) -> pl.DataFrame:
    """The base as it is in the file, which has been checked; without times that say nothing."""
    table = pl.read_parquet(path, glob=False, hive_partitioning=False).with_columns(
        pl.col("user_id").cast(pl.String), pl.col("item_id").cast(pl.String)
    )
    if not log.has_time:
        return table.drop("timestamp", strict=False)
    return table.with_columns(comparable_times(table["timestamp"]).alias("timestamp"))


def _frame(
    log: InteractionLog, item_ids: pl.Series, base: Rows, events: Rows, seed: int, earlier: Path | None
) -> pl.DataFrame:
    if log.has_time:
        return with_time(base.frame, events.frame) if events.frame.height else base.frame
    sources = [split_of(log, item_ids, seed)]
    if earlier is not None and (earlier / INTERACTIONS_FILE).is_file() and not log.has_split:
        try:
            earlier_ids = read_items(earlier / ITEMS_FILE)["item_id"]
            sources.insert(0, split_of(read_interactions(earlier / INTERACTIONS_FILE, earlier_ids), earlier_ids, seed))
        except BadInputError as error:
            progress.say(f"warning: the last snapshot is damaged, so what it held out is drawn anew ({error})")
    return without_time(base.frame, events.frame, sources, seed)


def _copy_catalogue(data: Path, target: Path) -> None:
    """Items and features, with what stands beside them; copied, because a link changes with what it leads to."""
    shutil.copyfile(data / ITEMS_FILE, target / ITEMS_FILE)
    if (data / "features").is_dir():
        (target / "features").mkdir()
        for path in sorted((data / "features").iterdir()):
            if path.is_file():
                shutil.copyfile(path, target / "features" / path.name)
