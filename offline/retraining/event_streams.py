"""The event streams as a job reads them: which there are, up to where, entry by entry, and what is trimmed.

A trimmed stream keeps the last entry that was archived. As long as it is there, nothing after it is lost; a stream that
begins later has dropped entries that nobody has archived (`MMGREC_EVENT_STREAM_MAX_LENGTH`).
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import redis

from service.contract.event_stream import MOST_PARTITIONS
from service.contract.redis_keys import RedisKeys

PAGE = 5_000
"""Entries of one round trip."""

Fields = Mapping[bytes, bytes]


class EntryId(NamedTuple):
    """The id of a stream entry; ids of one stream only grow.

    Attributes:
        arrived_ms: when Redis took the entry, milliseconds since 1970 UTC.
        sequence: among those of the same millisecond.
    """

    arrived_ms: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.arrived_ms}-{self.sequence}"

    @classmethod
    def parse(cls, text: str | bytes) -> "EntryId":
        """Read `milliseconds-sequence`.

        Raises:
            ValueError: the text is something else.
        """
        arrived_ms, _, sequence = (text.decode() if isinstance(text, bytes) else text).partition("-")
        return cls(int(arrived_ms), int(sequence))


BEFORE_ALL = EntryId(0, 0)


class EventStreams:
    """The streams of one namespace, whatever number of partitions the services write to."""

    def __init__(self, client: redis.Redis, keys: RedisKeys) -> None:
        self._client = client
        self._keys = keys

    def partitions(self) -> list[int]:
        """The partitions whose stream exists: asked one by one, since a SCAN would go over the keys of all users."""
        with self._client.pipeline(transaction=False) as pipeline:
            for partition in range(MOST_PARTITIONS):
                pipeline.exists(self._keys.events(partition))
            return [partition for partition, exists in enumerate(pipeline.execute()) if exists]

    def ends(self) -> dict[int, EntryId]:
        """The last entry of every stream that has any."""
        return self._edges(lambda name: self._client.xrevrange(name, count=1))

    def beginnings(self) -> dict[int, EntryId]:
        """The first entry of every stream that has any."""
        return self._edges(lambda name: self._client.xrange(name, count=1))

    def _edges(self, ask: Any) -> dict[int, EntryId]:
        found = {partition: ask(self._keys.events(partition)) for partition in self.partitions()}
        return {partition: EntryId.parse(entries[0][0]) for partition, entries in found.items() if entries}

    def read(self, partition: int, after: EntryId, up_to: EntryId) -> Iterator[list[tuple[EntryId, Fields]]]:
        """Entries behind `after` up to `up_to` itself, in pages."""
        while after < up_to:
            raw: Any = self._client.xrange(self._keys.events(partition), f"({after}", str(up_to), count=PAGE)
            if not raw:
                return
            page = [(EntryId.parse(name), fields) for name, fields in raw]
            yield page
            after = page[-1][0]

    def trim(self, partition: int, up_to: EntryId) -> int:
        """Remove the entries before `up_to`, which itself stays; gives how many went."""
        removed: Any = self._client.xtrim(self._keys.events(partition), minid=str(up_to), approximate=False)
        return int(removed)

    def sizes(self) -> dict[str, dict[str, float]]:
        """Entries of each stream, and how long the first that is surely not archived has waited, in seconds.

        By partition. The first entry may be the last archived one, so the age is that of the second; else 0.
        """
        now_ms = time.time() * 1000
        return {str(partition): self._size(self._keys.events(partition), now_ms) for partition in self.partitions()}

    def _size(self, name: str, now_ms: float) -> dict[str, float]:
        length: Any = self._client.xlen(name)
        first_two: Any = self._client.xrange(name, count=2)
        age_ms = now_ms - EntryId.parse(first_two[1][0]).arrived_ms if len(first_two) == 2 else 0.0
        return {"length": length, "age_seconds": round(max(0.0, age_ms) / 1000, 3)}
