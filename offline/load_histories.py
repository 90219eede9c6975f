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

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
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
    """Threads, each of which takes a free connection for a batch."""

    def __init__(self, client: redis.Redis, commands: HistoryCommands) -> None:
        self._client = client
        self._pool = client.connection_pool
        self._commands = commands

    def __enter__(self) -> "_Senders":
        self._connections: list[Any] = []
        self._free: SimpleQueue[Any] = SimpleQueue()
        for _ in range(SENDERS):
            try:
                self._connections.append(self._pool.get_connection())
            except redis.RedisError:
                if not self._connections:
                    raise
                if len(self._connections) > 1:  # the server, or the URL, allows for so many: others need one
                    self._pool.release(self._connections.pop())
                break
        for connection in self._connections:
            self._free.put(connection)
        self._threads = ThreadPoolExecutor(len(self._connections), "load-histories")
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
        for connection in self._connections:
            self._pool.release(connection)

    def send(self, start: int, end: int) -> "Future[int]":
        """Write users, by row; the future holds how many had nothing newer."""
        return self._threads.submit(self._send, start, end)

    def _send(self, start: int, end: int) -> int:
        keys = self._commands.keys(start, end)
        if not keys:
            return 0
        connection = self._free.get()
        try:
            if self._create(connection, keys, start, end):
                return len(keys) // 2
            try:
                return self._replace(connection, keys, start, end)
            except redis.exceptions.NoScriptError:  # somebody has made the server forget its scripts
                self._client.script_load(REPLACE)
                return self._replace(connection, keys, start, end)
        finally:
            self._free.put(connection)

    def _create(self, connection: Any, keys: list[bytes], start: int, end: int) -> bool:
        """Write users of whom Redis knows nothing; False, and nothing is written, if it knows one of them."""
        named = b"".join(keys)
        watch, exists = (b"*%d\r\n%b%b" % (1 + len(keys), name, named) for name in (_WATCH, _EXISTS))
        _, known = _exchange(connection, watch, exists)
        if known:
            _exchange(connection, _UNWATCH)
            return False
        *_, done = _exchange(connection, _MULTI, *self._commands.creating(keys, start, end), _EXEC)
        for answer in done or ():
            if isinstance(answer, redis.RedisError):
                raise answer
        return done is not None

    def _replace(self, connection: Any, keys: list[bytes], start: int, end: int) -> int:
        return sum(_exchange(connection, *self._commands.replacing(keys, start, end)))


def _exchange(connection: Any, *commands: bytes) -> list[Any]:
    """Send commands and read their answers."""
    try:
        # No check of its health: it might connect anew, and what was watched would be watched no more.
        connection.send_packed_command([b"".join(commands)], check_health=False)
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
