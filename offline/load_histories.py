"""Write a dataset's histories into Redis, where the service reads them.

Every user is written in one atomic step, and only if Redis holds nothing newer: the newest stored time is compared with
the user's newest time in the dataset. A dataset whose timestamps are no milliseconds says nothing about time: then its
items get their places as times, which any event and any dataset with times is newer than, and among such datasets the
last one loaded wins. So a job that was killed is resumed by running it again, events go on meanwhile, and an old
dataset does no harm.

Users of whom Redis knows nothing, in a first load all of them, are written by plain commands in a transaction that does
not happen if one of them has got a history meanwhile; a script (`REPLACE` in `service.contract.history_scripts`) looks
after the others, at three times the price.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import redis

from offline import progress
from offline.history_commands import HistoryCommands
from offline.user_histories import UserHistories
from service.contract.history_scripts import REPLACE, HistoryLimits
from service.contract.redis_keys import RedisKeys

BATCH_USERS = 64
"""Written at once: Redis does nothing else meanwhile, which is for a millisecond."""
BATCHES_PER_LOCK = 16
"""Every so many, the lock is asked for."""
SENDERS = 4
"""Threads: one writes commands out while Redis executes those of another."""
SAMPLED_USERS = 200

_WATCH, _EXISTS = b"$5\r\nWATCH\r\n", b"$6\r\nEXISTS\r\n"
_MULTI, _EXEC, _UNWATCH = b"*1\r\n$5\r\nMULTI\r\n", b"*1\r\n$4\r\nEXEC\r\n", b"*1\r\n$7\r\nUNWATCH\r\n"


class Loaded(NamedTuple):
    """What a load did.

    Attributes:
        users: users of the dataset.
        written: users that were replaced.
        left_alone: users of whom Redis holds something newer.
        users_per_second: of the whole load.
        bytes_per_user: memory of a user's two keys in Redis, the mean of a sample; None where nothing is stored.
    """

    users: int
    written: int
    left_alone: int
    users_per_second: int
    bytes_per_user: int | None


def load_histories(
    histories: UserHistories,
    client: redis.Redis,
    keys: RedisKeys,
    limits: HistoryLimits | None = None,
    *,
    require_lock: Callable[[], object] = lambda: None,
) -> Loaded:
    """Replace the history and the seen set of every user, newest first, unless Redis holds something newer.

    Args:
        histories: what users did.
        client: connected to one server.
        keys: of the namespace.
        limits: caps and TTLs, as the service has them.
        require_lock: called now and then; what it raises ends the load.

    Raises:
        redis.RedisError: Redis is gone, full, read-only, or holds a key of another type. What was loaded stays.
    """
    started = time.perf_counter()
    commands = HistoryCommands(histories, keys, limits or HistoryLimits(), client.script_load(REPLACE))
    num_users, written = len(histories.user_ids), 0
    with progress.task("load histories", num_users) as task, _Senders(client, commands) as senders:
        under_way: deque[Future[int]] = deque()
        for number, start in enumerate(range(0, num_users, BATCH_USERS)):
            if number % BATCHES_PER_LOCK == 0:
                require_lock()
            end = min(start + BATCH_USERS, num_users)
            under_way.append(senders.send(start, end))
            if len(under_way) > 2 * SENDERS:
                written += under_way.popleft().result()
            task.advance(steps=end - start)
        written += sum(answer.result() for answer in under_way)
    seconds = time.perf_counter() - started
    users = int(np.count_nonzero(np.diff(histories.offsets)))
    return Loaded(
        users=num_users,
        written=written,
        left_alone=users - written,
        users_per_second=round(num_users / seconds),
        bytes_per_user=_bytes_per_user(histories, client, keys) if users else None,
    )


class _Senders:
    """Threads, each with a connection of its own."""

    def __init__(self, client: redis.Redis, commands: HistoryCommands) -> None:
        self._pool = client.connection_pool
        self._commands = commands
        self._connections: list[Any] = []
        self._own = threading.local()
        self._threads = ThreadPoolExecutor(SENDERS, "load-histories", initializer=self._connect)

    def __enter__(self) -> "_Senders":
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
        for connection in self._connections:
            self._pool.release(connection)

    def send(self, start: int, end: int) -> "Future[int]":
        """Write users, by row; the future holds how many had nothing newer."""
        return self._threads.submit(self._write, start, end)

    def _connect(self) -> None:
        self._own.connection = self._pool.get_connection()
        self._connections.append(self._own.connection)

    def _write(self, start: int, end: int) -> int:
        keys = self._commands.keys(start, end)
        if not keys:
            return 0
        named = b"".join(keys)
        watch, exists = (b"*%d\r\n%b%b" % (1 + len(keys), name, named) for name in (_WATCH, _EXISTS))
        _, known = self._exchange(watch, exists)
        if known == 0:
            create = self._commands.creating(keys, start, end)
            *_, done = self._exchange(_MULTI, *create, _EXEC)
            if done is not None:
                return len(keys) // 2
        else:
            self._exchange(_UNWATCH)
        return sum(self._exchange(*self._commands.replacing(keys, start, end)))

    def _exchange(self, *commands: bytes) -> list[Any]:
        connection = self._own.connection
        try:
            connection.send_packed_command([b"".join(commands)])
            return [connection.read_response() for _ in commands]
        except BaseException:
            connection.disconnect()  # whoever has it next must not read answers that are left in it
            raise


def _bytes_per_user(histories: UserHistories, client: redis.Redis, keys: RedisKeys) -> int | None:
    """Mean memory of the keys of some users, evenly spread."""
    rows = np.unique(np.linspace(0, len(histories.user_ids) - 1, SAMPLED_USERS).astype(np.int64))
    pipeline = client.pipeline(transaction=False)
    for row in rows.tolist():
        user_id = histories.user_ids[row]
        pipeline.memory_usage(keys.history(user_id), samples=0)
        pipeline.memory_usage(keys.seen(user_id), samples=0)
    sizes = [size or 0 for size in pipeline.execute()]
    return round(sum(sizes) / len(rows)) or None
