"""Event streams of a namespace of their own, filled by hand, and an archive beside them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import redis

from offline.retraining import candidate_steps, judging
from offline.retraining.event_archive import EventArchive, scan
from offline.retraining.event_streams import EntryId, EventStreams
from offline.retraining.forgotten import remember_forgotten, remove_forgotten
from service.contract.event_stream import Forgotten, StoredEvent
from service.contract.redis_keys import RedisKeys, event_partition
from tests.offline.retraining.nights import NOW, Nights

DAY_MS = 86_400_000
PARTITIONS = 2


class Shop:
    """What a service would write, and what the archive makes of it."""

    def __init__(self, client: redis.Redis, namespace: str, data: Path) -> None:
        self.client, self.data = client, data
        self.keys = RedisKeys(namespace)
        self.streams = EventStreams(client, self.keys)
        self.archive = EventArchive(data, namespace)

    def add(self, entry: StoredEvent | Forgotten, at: str = "*") -> EntryId:
        fields: dict[Any, Any] = entry.fields()
        name: Any = self.client.xadd(self.stream_of(entry.user_id), fields, id=at)
        return EntryId.parse(name)

    def stream_of(self, user_id: str) -> str:
        return self.keys.events(event_partition(user_id, PARTITIONS))

    def archive_all(self) -> dict[str, int]:
        """As `retrain` does, for all that is there now; counts of all partitions together."""
        totals = dict.fromkeys(("read", "archived", "duplicates", "unreadable", "tombstones"), 0)
        with self.archive.locked():
            for partition, end in self.streams.ends().items():
                if (watermark := self.archive.index(partition).watermark) >= end:
                    continue
                pages = self.streams.read(partition, watermark, end)
                counts = self.archive.append(
                    partition, pages, end, lambda found: remember_forgotten(self.archive.folder, found)
                )
                totals = {name: totals[name] + count for name, count in counts.items()}
            totals["removed"] = remove_forgotten(self.archive)
        return totals

    def trim(self) -> None:
        for partition, watermark in self.archive.watermarks().items():
            self.streams.trim(partition, watermark)

    def archived(self) -> pl.DataFrame:
        """All events of the archive, in the order of arrival; every file that is there is one of its own."""
        files = self.archive.files()
        paths = self.archive.verified(files)
        assert set(paths) == set(self.archive.folder.glob("date=*/*"))
        return scan(paths).collect().sort("arrived", "sequence") if paths else pl.DataFrame()

    def items(self) -> list[str]:
        found = self.archived()
        return found["item_id"].to_list() if found.width else []


def event(item: str, *, user: str = "anna", time: int = NOW, event_id: str | None = None) -> StoredEvent:
    return StoredEvent(user, item, time, event_id=event_id)


@pytest.fixture
def shop(client: redis.Redis, namespace: str, tmp_path: Path) -> Shop:
    return Shop(client, namespace, tmp_path)


@pytest.fixture
def nights(
    job: Any,
    redis_url: str,
    namespace: str,
    tmp_path: Path,
    trained: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Nights]:
    made = Nights(job, redis_url, namespace, tmp_path, trained)
    monkeypatch.setattr(candidate_steps, "train_recipe", lambda *arguments, **named: made.train(*arguments, **named))
    # How long a run takes is not what these tests are about, and a busy machine is slow when it pleases.
    monkeypatch.setattr(judging, "median_milliseconds", lambda decoders, _: [1.0] * len(decoders))
    yield made
    made.client.close()
