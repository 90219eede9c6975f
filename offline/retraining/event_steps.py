"""The steps of `retrain` about events: into the archive, into the snapshot, and out of the streams."""

from contextlib import AbstractContextManager
from functools import partial

from offline.retraining.context import Context
from offline.retraining.event_streams import BEFORE_ALL
from offline.retraining.forgotten import remember_forgotten, remove_forgotten
from offline.retraining.plan import cut_of
from offline.retraining.run_record import Result
from offline.retraining.snapshot import FOLDER as SNAPSHOT
from offline.retraining.snapshot import write_snapshot

COUNTS = ("read", "archived", "duplicates", "unreadable", "tombstones")

LONGEST_WAIT_SECONDS = 60.0
"""For who changes the archive meanwhile: a `forget` takes seconds, a night that ends for it was trained for nothing."""


def archive_held(context: Context) -> AbstractContextManager[None]:
    """Hold the archive, so that no file of it is replaced between its index and its bytes; waits for who has it.

    Raises:
        LockedError: another job had it for too long.
    """
    return context.archive.locked(wait_seconds=LONGEST_WAIT_SECONDS)


def archive_events(context: Context) -> Result:
    """Archive everything up to the cut, and remove who is forgotten; gives the counts of `EventArchive.append`."""
    archive, plan = context.archive, context.record.plan
    cut, after = cut_of(plan), cut_of(plan, "after")
    totals = dict.fromkeys(COUNTS, 0)
    with archive_held(context):
        for partition, last in cut.items():
            if after.get(partition, BEFORE_ALL) >= last:
                continue  # nothing new when the run began
            pages = context.streams.read(partition, archive.index(partition).watermark, last)
            counts = archive.append(partition, pages, last, partial(remember_forgotten, archive.folder))
            totals = {name: totals[name] + counts.get(name, 0) for name in totals}
        return {**totals, "removed": remove_forgotten(archive)}


def make_snapshot(context: Context) -> Result:
    """Write the dataset of the run; see `write_snapshot`."""
    plan, previous = context.record.plan, context.previous
    with archive_held(context):
        return write_snapshot(
            context.options.choices.data,
            context.record.folder,
            context.archive,
            cut_of(plan),
            seed=plan["seed"],
            earlier=None if previous is None else previous / SNAPSHOT,
        )


def trim_streams(context: Context) -> Result:
    """Remove from the streams what the archive has for sure: its files are read and compared first.

    Raises:
        BadInputError: the archive is damaged; the streams stay.
        LockedError: another job changes the archive and does not end.
    """
    removed = 0
    with archive_held(context):
        beginnings = context.streams.beginnings()
        for partition, last in cut_of(context.record.plan).items():
            index = context.archive.index(partition)
            if partition in beginnings and index.watermark >= last:
                context.archive.verified([file for file in index.files if file.last >= beginnings[partition]])
                context.require_lock()
                removed += context.streams.trim(partition, last)
    return {"removed": removed}
