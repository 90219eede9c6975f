"""Events: what users do, written to a stream that the jobs read and to the histories that the next answer is made from.

Redis cannot do both in one step (in a Cluster, stream and user live on different servers), and the process may die in
between. So the order is: ask which event ids are known, append the others to their streams, then apply each to its
user in one atomic step that also writes its event id (`service.contract.history_scripts`). What follows:

- Died before the stream: nothing is stored, the caller had no answer and sends the event again.
- Died between stream and history: the event id is not known yet, so a repetition is written to the stream a second time
  and to the history for the first. An event is in its stream *at least once*; readers drop the copies by event id.
- Died after the history, before the answer: the event id is known, a repetition is a duplicate and changes nothing.
- Two processes get the same event at once: twice in the stream, once in the history, because the atomic step asks for
  the event id again.
- Repeated after later events: the history is in the order of the events' times and not of their arrival, so the late
  one ends in its place.

Without an event id nothing tells a repetition from a second event: the stream has both. The history has the item once
all the same, unless repeats are kept. A repetition that comes without a timestamp counts at the time it arrives.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

from redis.asyncio.client import Pipeline

from service.contract.event_stream import StoredEvent
from service.contract.history_scripts import APPLY_EVENT, Duplicates, HistoryLimits, event_arguments
from service.redis_connection import RedisConnection
from service.users.event_streams import EventStreams
from service.users.redis_writes import RedisWrites, Script

CHUNK = 100
"""Events of one round trip: building it takes a millisecond or two, in which nobody else is served."""


class Recorded(NamedTuple):
    """What became of the events of one call.

    Attributes:
        accepted: events that are stored now.
        duplicates: events whose id was known, or stood in the call before.
        not_applied: accepted ones that are in the stream alone: a key of another type is in place of the user's own.
    """

    accepted: int
    duplicates: int
    not_applied: int


class Events:
    """Stores events.

    Attributes:
        accepted, duplicates, not_applied: as in `Recorded`, of all calls together.
        streams: what events are written to.
    """

    def __init__(
        self,
        connection: RedisConnection,
        writes: RedisWrites,
        *,
        limits: HistoryLimits,
        duplicates: Duplicates,
        event_id_ttl_seconds: int,
        partitions: int,
        max_length: int,
    ) -> None:
        self.accepted = self.duplicates = self.not_applied = 0
        self._keys = connection.keys
        self._writes = writes
        self._limits = limits
        self._mode = duplicates
        self._event_id_ttl_seconds = event_id_ttl_seconds
        self.streams = EventStreams(connection.keys, partitions=partitions, max_length=max_length)
        self._apply = Script(APPLY_EVENT)

    async def record(self, events: Sequence[StoredEvent]) -> Recorded:
        """Store events, in the order given.

        Raises:
            RedisUnavailableError: Redis does not take them. Some may be stored: with event ids, the call can be
                repeated as it is.
        """
        repeated = _repeated(events)
        once = [event for at, event in enumerate(events) if at not in repeated]
        stored = [await self._record_chunk(once[start : start + CHUNK]) for start in range(0, len(once), CHUNK)]
        self.duplicates += len(repeated)
        accepted, duplicates, not_applied = (sum(counts) for counts in zip((0, 0, 0), *stored, strict=True))
        return Recorded(accepted, duplicates + len(repeated), not_applied)

    async def _record_chunk(self, events: Sequence[StoredEvent]) -> Recorded:
        known = await self._known(events)
        fresh = [event for event in events if event not in known]
        if fresh:
            await self._append(fresh)
        applied = await self._writes.run(self._apply, [self._call(event) for event in fresh]) if fresh else []
        raced = applied.count(0)  # another process applied the same event meanwhile
        recorded = Recorded(len(fresh) - raced, len(events) - len(fresh) + raced, applied.count(None))
        self.accepted += recorded.accepted
        self.duplicates += recorded.duplicates
        self.not_applied += recorded.not_applied
        return recorded

    async def _known(self, events: Sequence[StoredEvent]) -> set[StoredEvent]:
        """The events whose id Redis knows."""
        named = [event for event in events if event.event_id is not None]
        keys = [self._keys.event(event.user_id, event.event_id or "") for event in named]
        if not named:
            return set()
        replies = await self._writes.send(lambda pipeline: [pipeline.exists(key) for key in keys])
        return {event for event, reply in zip(named, replies, strict=True) if reply}

    async def _append(self, events: Sequence[StoredEvent]) -> None:
        def fill(pipeline: Pipeline) -> None:
            for event in events:
                self.streams.add(pipeline, event)

        await self._writes.send(fill)

    def _call(self, event: StoredEvent) -> tuple[list[str], list[str | int]]:
        keys = [self._keys.history(event.user_id), self._keys.seen(event.user_id)]
        if event.event_id is not None:
            keys.append(self._keys.event(event.user_id, event.event_id))
        arguments = event_arguments(
            event.item_id,
            event.time_ms,
            duplicates=self._mode,
            limits=self._limits,
            event_id_ttl_seconds=self._event_id_ttl_seconds,
        )
        return keys, arguments


def now_ms() -> int:
    """Milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


def _repeated(events: Sequence[StoredEvent]) -> set[int]:
    """Positions of events whose user and id stand before them in the same call."""
    known, repeated = set[tuple[str, str]](), set[int]()
    for at, event in enumerate(events):
        if event.event_id is not None:
            name = (event.user_id, event.event_id)
            if name in known:
                repeated.add(at)
            known.add(name)
    return repeated
