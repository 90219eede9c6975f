"""What Redis knows of a user: the history that is decoded from, and the items that `exclude_seen` leaves out.

Reads share round trips: while one is under way, or while their callers would only wait for the decoder, requests
gather, and the next pipeline asks for all of them. It holds no transaction, for in a Redis Cluster users live on
different servers. When Redis cannot be read, or not in the time that a caller has, the last known items stand in, from
a cache of bounded size.
"""

import asyncio
import itertools
import logging
import math
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from service.contract.history_scripts import DEFAULT_SEEN_CAP
from service.contract.redis_keys import HISTORY_CAP
from service.redis_connection import RedisConnection, RedisFailure, RedisUnavailableError, is_refused
from service.users.circuit_breaker import PAUSE_SECONDS, CircuitBreaker
from service.users.gathering import Alarm, Pause
from service.users.history_cache import DEFAULT_CACHE_BYTES, HistoryCache
from service.users.round_trips import Command, RoundTrips
from service.users.user_items import UserItems

logger = logging.getLogger(__name__)

MAX_BATCH = 256
"""Users of one round trip; a reply has at most this many histories and seen sets."""
_REFUSAL_LOG_SECONDS = 60.0
_TOO_SLOW = "Redis does not answer in the time that the request has"


class _Waiting(NamedTuple):
    """A caller; until when others may join before Redis is asked, and when it needs an answer (times of the loop)."""

    user_id: str
    patient_until: float
    limit: float
    answer: "asyncio.Future[UserItems]"


class Histories:
    """Reads users from Redis. Ids that are no UTF-8 come out with replacement characters, as ids that nobody knows.

    Attributes:
        reads: requests for a user's items.
        failures: those that Redis did not answer.
        stale_answers: those of them that were answered from the cache.
        unknown_users: those that Redis answered and knows nothing about.
        round_trips: pipelines sent.
    """

    def __init__(
        self,
        connection: RedisConnection,
        *,
        seen_cap: int = DEFAULT_SEEN_CAP,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        self.reads = self.failures = self.stale_answers = self.unknown_users = self.round_trips = 0
        self.cache = HistoryCache(cache_bytes)
        self._connection = connection
        self._round_trips = RoundTrips(connection)
        self._seen_cap = seen_cap
        self._breaker = CircuitBreaker(pause_seconds)
        self._waiting: deque[_Waiting] = deque()
        self._asked: list[_Waiting] = []
        self._pause = Pause()
        self._alarm = Alarm(self._let_go)
        self._reading: asyncio.Task[None] | None = None
        self._failing = False
        self._refusal_logged_at = -_REFUSAL_LOG_SECONDS

    async def read(self, user_id: str, patience_seconds: float = 0.0, *, limit_seconds: float = math.inf) -> UserItems:
        """Read one user; both parts are empty for a user that Redis does not know, `stale` tells of the cache.

        Args:
            user_id: whose items.
            patience_seconds: how long the caller has nothing better to do; others may join the round trip meanwhile,
                unless one of them is in a hurry.
            limit_seconds: how long the caller can wait; then it is as if Redis had failed. The read itself goes on.

        Raises:
            RedisUnavailableError: Redis cannot be reached within the time limits, or a key holds another type, and the
                cache does not know the user.
        """
        self.reads += 1
        if self._breaker.refuses():
            return self._last_known(user_id, self._connection.cure)
        loop = asyncio.get_running_loop()
        now = loop.time()
        waiting = _Waiting(user_id, now + patience_seconds, now + limit_seconds, loop.create_future())
        self._waiting.append(waiting)
        self._pause.shorten(waiting.patient_until)
        self._alarm.set(waiting.limit)
        if self._reading is None:
            # In a task of its own, because a caller who gives up must not cut off the read that others share.
            self._reading = asyncio.create_task(self._read_waiting(), name="histories")
        return await waiting.answer

    async def _read_waiting(self) -> None:
        try:
            while self._waiting:
                await self._gather()
                batch = [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]
                batch = [each for each in batch if not each.answer.done()]  # whoever gave up meanwhile is done
                self._asked = batch
                try:
                    if batch:
                        await self._answer(batch)
                except Exception as error:  # noqa: BLE001 - whoever waits must hear of it, whatever it is
                    for each in batch:
                        if not each.answer.done():
                            each.answer.set_exception(error)
        finally:
            self._asked = []
            self._reading = None

    async def _gather(self) -> None:
        """Let others join for as long as nobody who waits is in a hurry."""
        if len(self._waiting) < MAX_BATCH:
            until = min(each.patient_until for each in self._waiting)
            if until > asyncio.get_running_loop().time():
                await self._pause.wait(until)

    def _let_go(self, now: float) -> float:
        """Answer whoever has no more time as if Redis had failed, and give the earliest limit of the others."""
        limits = [math.inf]
        for each in itertools.chain(self._asked, self._waiting):
            if each.answer.done():
                continue
            if each.limit <= now:
                self._settle(each, None, _TOO_SLOW)
            else:
                limits.append(each.limit)
        return min(limits)

    async def _answer(self, batch: list[_Waiting]) -> None:
        users = list(dict.fromkeys(each.user_id for each in batch))
        try:
            replies = await self._fetch(users)
        except (RedisUnavailableError, *RedisFailure) as error:
            self._breaker.failed(error)
            if self._breaker.is_open:
                batch = [*batch, *self._waiting]  # they have waited as long, and would wait again
                self._waiting.clear()
            self._say_once(failing=True, why=f": {type(error).__name__}: {error}")
            found, why = {}, self._connection.cure
        else:
            self._breaker.answered()
            self._say_once(failing=False)
            found = {user: self._understood(user, *replies[2 * at : 2 * at + 2]) for at, user in enumerate(users)}
            why = "Redis refuses: the service's log says why"
        for each in batch:
            if not each.answer.done():
                self._settle(each, found.get(each.user_id), why)

    async def _fetch(self, users: Sequence[str]) -> list[Any]:
        """For every user the replies to LRANGE and ZRANGE; a refused command is its error."""
        self.round_trips += 1
        keys = self._connection.keys
        commands: list[Command] = []
        for user_id in users:
            commands.append(("LRANGE", keys.history(user_id), 0, HISTORY_CAP - 1))
            commands.append(("ZRANGE", keys.seen(user_id), -self._seen_cap, -1))
        return await self._round_trips.send(commands)

    def _understood(self, user_id: str, history: Any, seen: Any) -> UserItems | None:
        refused = next((reply for reply in (history, seen) if isinstance(reply, Exception)), None)
        if refused is not None:
            self._log_refusal(refused)
            return None
        items = UserItems(_texts(reversed(history)), _texts(seen))
        self.cache.put(user_id, items)
        return items

    def _settle(self, waiting: _Waiting, items: UserItems | None, why: str) -> None:
        if items is None:
            try:
                waiting.answer.set_result(self._last_known(waiting.user_id, why))
            except RedisUnavailableError as error:
                waiting.answer.set_exception(error)
            return
        if not items.history and not items.seen:
            self.unknown_users += 1
        waiting.answer.set_result(items)

    def _last_known(self, user_id: str, why: str) -> UserItems:
        self.failures += 1
        known = self.cache.get(user_id)
        if known is None:
            raise RedisUnavailableError(f"the user's items cannot be read: {why}")
        self.stale_answers += 1
        return known._replace(stale=True)

    def _say_once(self, *, failing: bool, why: str = "") -> None:
        """Log when reading starts or stops failing: an outage must not write a line per request."""
        if failing != self._failing:
            self._failing = failing
            logger.warning("histories %s%s", "cannot be read, answers are degraded" if failing else "are back", why)

    def _log_refusal(self, error: Exception) -> None:
        """Log now and then that one user cannot be read; the command is not quoted, for it holds the user's id."""
        if time.monotonic() - self._refusal_logged_at >= _REFUSAL_LOG_SECONDS:
            self._refusal_logged_at = time.monotonic()
            wrong_type = "is a key of another type in the namespace?"
            hint = self._connection.cure_of(error) if is_refused(error) else wrong_type
            logger.warning("a user's history cannot be read: %s; %s", type(error).__name__, hint)


def _texts(raw: Iterable[bytes]) -> tuple[str, ...]:
    """Decoded all at once, unless one of them holds what they are joined by."""
    items = tuple(raw)
    texts = b"\n".join(items).decode("utf-8", "replace").split("\n") if items else []
    return tuple(texts if len(texts) == len(items) else (item.decode("utf-8", "replace") for item in items))
