"""What is archived of one partition: up to which entry, in which files. The index decides; other files are leftovers.

It is replaced last, whole or not at all. So a job that is killed at any instant leaves the archive as it was before,
and files that no index names, which the next one removes.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from offline.errors import BadInputError
from offline.retraining.durable_files import write_json_durably
from offline.retraining.event_streams import BEFORE_ALL, EntryId

NAME = "partition-{}.json"


class ArchivedFile(NamedTuple):
    """One Parquet file of the archive.

    Attributes:
        name: below the archive's folder.
        rows: events in it.
        sha256: of its bytes.
    """

    name: str
    rows: int
    sha256: str

    @property
    def first(self) -> EntryId:
        """Where the entries begin that it was made of; its name says so."""
        return self._named()[0]

    @property
    def last(self) -> EntryId:
        """Where they end."""
        return self._named()[1]

    def _named(self) -> tuple[EntryId, EntryId]:
        first_ms, first, last_ms, last = self.name.rpartition("/")[2].partition(".")[0].split("-")[2:]
        return EntryId(int(first_ms), int(first)), EntryId(int(last_ms), int(last))


@dataclass(frozen=True, kw_only=True)
class PartitionIndex:
    """What is archived of one partition.

    Attributes:
        partition: which.
        namespace: whose streams they are; entry ids of another Redis mean other entries.
        watermark: the last entry that was read.
        files: in the order of their entries.
        last: counts of the last time that entries were read, and the entry up to which.
    """

    partition: int
    namespace: str
    watermark: EntryId = BEFORE_ALL
    files: tuple[ArchivedFile, ...] = ()
    last: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Put it in the place of what is there."""
        write_json_durably(index_path(folder, self.partition), {**asdict(self), "watermark": str(self.watermark)})


def index_path(folder: Path, partition: int) -> Path:
    """Where the index of a partition is."""
    return folder / NAME.format(partition)


def indexed_partitions(folder: Path) -> list[int]:
    """Partitions that have an index."""
    prefix, _, suffix = NAME.partition("{}")
    numbers = (path.name.removeprefix(prefix).removesuffix(suffix) for path in folder.glob(NAME.format("*")))
    return sorted(int(number) for number in numbers if number.isdecimal())


def read_index(folder: Path, partition: int, namespace: str) -> PartitionIndex | None:
    """The index of a partition; None where nothing was ever archived.

    Raises:
        BadInputError: it cannot be read, is that of another namespace, or is gone while files of the partition remain.
    """
    path = index_path(folder, partition)
    cure = "restore it from a backup: without it nobody knows which events are archived"
    try:
        raw = json.loads(path.read_text())
        files = tuple(ArchivedFile(*entry) for entry in raw["files"])
        index = PartitionIndex(
            partition=int(raw["partition"]),
            namespace=str(raw["namespace"]),
            watermark=EntryId.parse(raw["watermark"]),
            files=files,
            last=dict(raw["last"]),
        )
    except FileNotFoundError:
        left = next(folder.glob(f"date=*/part-{partition}-*.parquet"), None)
        if left is not None:
            raise BadInputError(f"{path} is missing, but there is {left}; {cure}") from None
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInputError(f"{path} cannot be read ({error}); {cure}") from error
    if index.namespace != namespace:
        raise BadInputError(
            f"{folder} holds the events of namespace {index.namespace}, not of {namespace}; give another --data, or "
            "the --namespace that belongs to it"
        )
    return index
