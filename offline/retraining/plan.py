"""Which run it is: an unfinished one first, else one for the data and the events as they are now."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from offline import progress
from offline.dataset_checks import INTERACTIONS_FILE, ITEMS_FILE, require_folder
from offline.errors import BadInputError
from offline.retraining.event_archive import EventArchive
from offline.retraining.event_streams import BEFORE_ALL, EntryId, EventStreams
from offline.retraining.run_record import RunRecord, read_records
from offline.retraining.served_run import find_served_run
from offline.retraining.snapshot import FOLDER as SNAPSHOT
from offline.retraining.snapshot import remove_snapshot
from offline.run_folder import fingerprint
from service.contract.release_store import ReleaseStore

Cut = dict[int, EntryId]


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the caller chose of what decides a run.

    Attributes:
        data: the dataset folder.
        namespace: whose events are read, and whose release is replaced.
        runs: where run folders are.
        recipe: its name.
        seed: of splits, weights and sampling.
        from_scratch: whether the last run is not used as a start.
    """

    data: Path
    namespace: str
    runs: Path
    recipe: str
    seed: int
    from_scratch: bool

    def as_plan(self) -> dict[str, Any]:
        """What runs that were made with the same choices have alike: no other is gone on with."""
        return {**self.of_release(), "data_folder": str(self.data.resolve())}

    def of_release(self) -> dict[str, Any]:
        """What releases have alike that the same data would bring again; a folder may move."""
        return {
            "namespace": self.namespace,
            "recipe": self.recipe,
            "seed": self.seed,
            "from_scratch": self.from_scratch,
        }


def choose_run(
    choices: Choices, streams: EventStreams, archive: EventArchive, store: ReleaseStore, served: str | None
) -> tuple[RunRecord, bool]:
    """The run to go on with, and whether there is anything to do in it.

    Args:
        choices: of the caller.
        streams: of the namespace.
        archive: of the dataset folder.
        store: of the namespace.
        served: what the main arm serves.

    Raises:
        BadInputError: the dataset or the archive cannot be used.
    """
    data_sha256 = _data_sha256(choices.data)
    records = list(read_records(choices.runs))
    for record in records:
        if record.state == "running" and record.plan.items() >= choices.as_plan().items():
            if _can_go_on(record, data_sha256):
                progress.say(f"retrain: going on with {record.folder}")
                return record, True
            _give_up(record, "the dataset has changed and it is not trained")
    after = archive.watermarks()
    cut = _cut(streams, after)
    plan = {**choices.as_plan(), "data_sha256": data_sha256, "cut": _named(cut)}
    folder = choices.runs / _name(plan, cut)
    _give_up_others(records, choices.namespace, folder)
    for record in records:
        if record.folder == folder:
            if record.state in ("published", "nothing_new"):
                return record, False
            record.change("running")
            return record, True
    previous = find_served_run(choices.runs, records, store, served)
    plan |= {
        "data": choices.data.resolve().name,
        "after": _named({partition: after.get(partition, BEFORE_ALL) for partition in cut}),
        "gaps": _gaps(streams, after),
        "previous": previous.name,
        "no_previous": previous.unknown_because,
    }
    return RunRecord.begin(folder, plan), True


def cut_of(plan: Mapping[str, Any], name: str = "cut") -> Cut:
    """The last entry of every partition, as a plan has it."""
    return {int(partition): EntryId.parse(entry) for partition, entry in plan[name].items()}


def remove_old_snapshots(records: Sequence[RunRecord], namespace: str, kept: Sequence[str | None]) -> None:
    """Remove the datasets of ended runs but those named: they take room, and hold who asked to be forgotten since.

    Args:
        records: of runs.
        namespace: whose runs; those of others are theirs to tidy.
        kept: names of runs.
    """
    for record in records:
        if record.state != "running" and record.name not in kept and _is_of(record, namespace):
            remove_snapshot(record.folder)


def _give_up_others(records: Sequence[RunRecord], namespace: str, folder: Path) -> None:
    """Unfinished runs of the namespace that a newer one replaces: nobody may go on with events of long ago."""
    for record in records:
        if record.state == "running" and record.folder != folder and _is_of(record, namespace):
            _give_up(record, "a newer run begins")


def _is_of(record: RunRecord, namespace: str) -> bool:
    """Whose run it is; one of an earlier version does not say, and nobody goes on with it."""
    return bool(record.plan.get("namespace", namespace) == namespace)


def _give_up(record: RunRecord, why: str) -> None:
    progress.say(f"retrain: {record.folder} is given up, since {why}")
    record.change("abandoned")
    remove_snapshot(record.folder)


def _data_sha256(data: Path) -> str:
    require_folder(data)
    try:
        return fingerprint(data)
    except FileNotFoundError as error:
        raise BadInputError(
            f"{error.filename}: no such file; a dataset folder holds {INTERACTIONS_FILE}, {ITEMS_FILE}"
        ) from error


def _can_go_on(record: RunRecord, data_sha256: str) -> bool:
    """One that is trained is worth more than what came since; one that is not may have stopped at the old data."""
    if record.plan["data_sha256"] == data_sha256:
        return True
    return bool(record.result("train")) and snapshot_is_whole(record, record.result("snapshot"))


def snapshot_is_whole(record: RunRecord, result: Mapping[str, Any]) -> bool:
    """Whether the snapshot is what the step left."""
    try:
        return bool(result) and fingerprint(record.folder / SNAPSHOT) == result["sha256"]
    except OSError:
        return False


def _cut(streams: EventStreams, after: Mapping[int, EntryId]) -> Cut:
    """Up to where this run reads: the end of each stream, or of the archive where a stream has nothing newer."""
    ends = streams.ends()
    return {
        partition: max(ends.get(partition, BEFORE_ALL), after.get(partition, BEFORE_ALL))
        for partition in sorted(ends.keys() | after.keys())
    }


def _gaps(streams: EventStreams, after: Mapping[int, EntryId]) -> list[int]:
    """Partitions whose stream no longer has the last archived entry: what came right after it may be lost."""
    beginnings, ends = streams.beginnings(), streams.ends()
    gaps = [
        partition
        for partition, last in after.items()
        if partition in beginnings.keys() & ends.keys() and not beginnings[partition] <= last <= ends[partition]
    ]
    if gaps:
        progress.say(
            f"warning: the event streams of partitions {gaps} dropped entries that were not archived; run retrain more "
            "often, or raise MMGREC_EVENT_STREAM_MAX_LENGTH"
        )
    return gaps


def _name(plan: Mapping[str, Any], cut: Cut) -> str:
    """Of what the run is trained on, and the day of the last event for people."""
    digest = hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()
    last = max(cut.values(), default=BEFORE_ALL)
    day = f"{datetime.fromtimestamp(last.arrived_ms / 1000, UTC):%Y%m%d}" if cut else "base"
    return f"{day}-{digest[:12]}"


def _named(cut: Mapping[int, EntryId]) -> dict[str, str]:
    return {str(partition): str(entry) for partition, entry in cut.items()}
