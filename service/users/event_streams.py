"""The event streams as this process writes them: which one a user's entries stand in, how long and how old they are."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from redis.asyncio.client import Pipeline

from service.contract.event_stream import Forgotten, StoredEvent
from service.contract.redis_keys import RedisKeys, event_partition
from service.redis_connection import RedisConnection, RedisFailure, RedisUnavailableError

KEPT_SECONDS = 5.0
"""How long a look at the streams, also one that failed, stands for the next scrapes."""
_LIMIT_SECONDS = 2.0


class EventStreams:
    """The streams of one namespace.

    Args:
        keys: of the namespace.
        partitions: how many there are; the same number in every process.
        max_length: entries that each keeps, about.
    """

    def __init__(self, keys: RedisKeys, *, partitions: int, max_length: int) -> None:
        self.max_length = max_length
        self.names = [keys.events(partition) for partition in range(partitions)]

    def add(self, pipeline: Pipeline, entry: StoredEvent | Forgotten) -> None:
        """Put the command that appends an entry to its user's stream into a pipeline."""
        fields: dict[Any, Any] = entry.fields()  # redis-py's type for them is invariant
        name = self.names[event_partition(entry.user_id, len(self.names))]
        pipeline.xadd(name, fields, maxlen=self.max_length, approximate=True)


class StreamSize(NamedTuple):
    """One stream: entries, and how long the oldest one that nobody has archived yet has waited, in seconds.

    `retrain` leaves the last entry that it has archived, so that it sees whether one after that is lost. The first
    entry may be that one, so the age is that of the second; a stream of one entry has age 0.
    """

    length: int
    age_seconds: float


class StreamSizes:
    """Asks Redis for the sizes of the streams when somebody wants to know, and not more often than is useful."""

    def __init__(
        self, connection: RedisConnection, streams: EventStreams, *, now: Callable[[], float] = time.time
    ) -> None:
        self._connection = connection
        self._streams = streams
        self._now = now
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked_at = float("-inf")
        self._found: tuple[StreamSize, ...] = ()

    def use_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say where the connection lives; before that nothing is known."""
        self._loop = loop

    def known(self) -> Sequence[StreamSize]:
        """Sizes by partition; nothing while Redis cannot be read. To be called on a thread that is not the loop's."""
        if self._loop is not None and time.monotonic() - self._asked_at >= KEPT_SECONDS:
            self._asked_at = time.monotonic()
            reading = asyncio.run_coroutine_threadsafe(self._read(), self._loop)
            try:
                self._found = reading.result(_LIMIT_SECONDS)
            except (RedisUnavailableError, TimeoutError, *RedisFailure):
                reading.cancel()
                self._found = ()
        return self._found

    async def _read(self) -> tuple[StreamSize, ...]:
        async with self._connection.client.pipeline(transaction=False) as pipeline:
            for name in self._streams.names:
                pipeline.xlen(name)
                pipeline.xrange(name, count=2)
            replies = await pipeline.execute()
        return tuple(self._size(length, first) for length, first in zip(replies[::2], replies[1::2], strict=True))

    def _size(self, length: int, first_two: Sequence[tuple[bytes, Any]]) -> StreamSize:
        if len(first_two) < 2:
            return StreamSize(length, 0.0)
        arrived_ms = int(first_two[1][0].partition(b"-")[0])
        return StreamSize(length, max(0.0, self._now() - arrived_ms / 1000))
