"""Histories in the hands of their owners: read as stored, replaced, and forgotten."""

from collections.abc import Sequence

from redis.asyncio.client import Pipeline

from service.contract.event_stream import Forgotten
from service.contract.history_scripts import REPLACE, Duplicates, HistoryLimits, replace_arguments
from service.redis_connection import RedisConnection, RedisUnavailableError
from service.users.event_streams import EventStreams
from service.users.events import now_ms
from service.users.histories import Histories
from service.users.redis_writes import RedisWrites, Script
from service.users.user_items import UserItems


class HistoryEdits:
    """What `/users/{id}/history` does. Never answers from the cache: who edits must see what is stored."""

    def __init__(
        self,
        connection: RedisConnection,
        histories: Histories,
        writes: RedisWrites,
        streams: EventStreams,
        *,
        limits: HistoryLimits,
        duplicates: Duplicates,
    ) -> None:
        self._keys = connection.keys
        self._streams = streams
        self._histories = histories
        self._writes = writes
        self._limits = limits
        self._duplicates = duplicates
        self._replace = Script(REPLACE)

    async def stored(self, user_id: str) -> UserItems:
        """What Redis holds.

        Raises:
            RedisUnavailableError: it cannot be read.
        """
        items = await self._histories.read(user_id)
        if items.stale:
            raise RedisUnavailableError("the user's items cannot be read now; ask again later")
        return items

    async def replace(self, user_id: str, history: Sequence[str]) -> UserItems:
        """Put `history`, oldest first, in the place of the user's history and seen items; gives what is stored then.

        The newest item gets the time of now and each one before it a millisecond less, so that events that happen later
        follow them.

        Raises:
            RedisUnavailableError: Redis does not take it, or a key of another type is in the way.
        """
        newest_first = list(reversed(without_repeats(history, self._duplicates)))
        now = now_ms()
        times = (now - age for age in range(len(newest_first)))
        keys = [self._keys.history(user_id), self._keys.seen(user_id)]
        replies = await self._writes.run(
            self._replace, [(keys, replace_arguments(newest_first, times, limits=self._limits))]
        )
        if replies == [None]:
            raise RedisUnavailableError("not stored: a key of another type is in the place of this user's; remove it")
        return await self._stored_now(user_id)

    async def forget(self, user_id: str) -> None:
        """Delete history and seen items, here and in the cache, and leave a tombstone in the user's event stream.

        With it the next `retrain` removes the user's earlier events from the archive and from what is trained on. Until
        then they stay, and so do the ids of past events, which keep repetitions of those from being stored again until
        they expire by themselves.

        Raises:
            RedisUnavailableError: Redis does not take it. Forgetting again does no harm.
        """

        def fill(pipeline: Pipeline) -> None:
            self._streams.add(pipeline, Forgotten(user_id, now_ms()))
            pipeline.delete(self._keys.history(user_id), self._keys.seen(user_id))

        await self._writes.send(fill)
        await self._stored_now(user_id)

    async def _stored_now(self, user_id: str) -> UserItems:
        """Read what was just written. A read that was under way before it may have put the old items into the cache."""
        try:
            return await self.stored(user_id)
        except RedisUnavailableError:
            self._histories.cache.remove(user_id)
            raise


def without_repeats(history: Sequence[str], duplicates: Duplicates) -> list[str]:
    """A history, oldest first, with every item once, unless repeats are kept: where it came first, or last."""
    if duplicates == "keep_all":
        return list(history)
    if duplicates == "keep_first":
        return list(dict.fromkeys(history))
    return list(dict.fromkeys(reversed(history)))[::-1]
