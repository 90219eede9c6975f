"""Write a dataset's histories into Redis, where the service reads them.

Every user is replaced in one atomic step of their own (`REPLACE` in `service.contract.history_scripts`), and only if
Redis holds nothing newer: the newest stored time is compared with the user's newest time in the dataset. A dataset
whose timestamps are no milliseconds says nothing about time: then its items get their places as times, which any event
and any dataset with times is newer than, and among such datasets the last one loaded wins. So a job that was killed
is resumed by running it again, events go on meanwhile, and an old dataset does no harm.

redis-py would spend 40 microseconds per user on writing commands out; here each item's bytes are made once, and a user
is a join of them. A thread talks to Redis while the next batch is made.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import redis

from offline import progress
from offline.user_histories import UserHistories
from service.contract.history_scripts import FIRST_TIME, REPLACE, HistoryLimits
from service.contract.redis_keys import HISTORY_CAP, RedisKeys

BATCH_USERS = 1_000
"""Users sent at once: enough to hide the way to Redis, and held by it for milliseconds."""
SAMPLED_USERS = 200


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
        require_lock: called before every batch; what it raises ends the load.

    Raises:
        redis.RedisError: Redis is gone, full, read-only, or holds a key of another type. What was loaded stays.
    """
    started = time.perf_counter()
    sha1 = client.script_load(REPLACE)
    written = users = 0
    with (
        progress.task("load histories", len(histories.user_ids)) as task,
        _Sender(client) as sender,
    ):
        answers: list[Future[int]] = []
        for count, payload in _batches(histories, keys, limits or HistoryLimits(), sha1):
            require_lock()
            answers.append(sender.send(payload, count))
            users += count
            if len(answers) > 1:
                written += answers.pop(0).result()
            task.advance(steps=count)
        written += sum(answer.result() for answer in answers)
    seconds = time.perf_counter() - started
    return Loaded(
        users=len(histories.user_ids),
        written=written,
        left_alone=users - written,
        users_per_second=round(len(histories.user_ids) / seconds),
        bytes_per_user=_bytes_per_user(histories, client, keys) if users else None,
    )


class _Sender:
    """One connection and the thread that writes to it and reads from it, in turn."""

    def __init__(self, client: redis.Redis) -> None:
        self._pool = client.connection_pool
        self._connection: Any = self._pool.get_connection()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="load-histories")

    def __enter__(self) -> "_Sender":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
        if kind is not None:
            self._connection.disconnect()  # answers may be left in it
        self._pool.release(self._connection)

    def send(self, payload: bytes, count: int) -> "Future[int]":
        """Send `count` commands; their replies are numbers, of which the future holds the sum."""
        return self._thread.submit(self._exchange, payload, count)

    def _exchange(self, payload: bytes, count: int) -> int:
        self._connection.send_packed_command([payload])
        return sum(self._connection.read_response() for _ in range(count))


def _batches(
    histories: UserHistories, keys: RedisKeys, limits: HistoryLimits, sha1: str
) -> Iterator[tuple[int, bytes]]:
    """Numbers of commands, and the commands as Redis reads them; users without items have none."""
    write = _Commands(histories, keys, limits, sha1)
    for start in range(0, len(histories.user_ids), BATCH_USERS):
        commands = write.of(start, min(start + BATCH_USERS, len(histories.user_ids)))
        if commands:
            yield len(commands), b"".join(commands)


class _Commands:
    """Writes EVALSHA out: `*<arguments>`, and before each of them `$<bytes>`."""

    def __init__(self, histories: UserHistories, keys: RedisKeys, limits: HistoryLimits, sha1: str) -> None:
        self._histories, self._keys, self._seen_cap = histories, keys, limits.seen_cap
        self._items = [_argument(item_id) for item_id in histories.item_ids]
        longest = int(np.diff(histories.offsets).max(initial=0))
        self._places = [_argument(place) for place in range(longest)]
        self._call = _argument("EVALSHA") + _argument(sha1) + _argument(2)
        ttls = _argument(limits.history_ttl_seconds) + _argument(limits.seen_ttl_seconds)
        self._limits = _argument(HISTORY_CAP) + ttls

    def of(self, start: int, end: int) -> list[bytes]:
        """The commands of the user rows from `start` to before `end`."""
        offsets = self._histories.offsets[start : end + 1]
        first, last = int(offsets[0]), int(offsets[-1])
        rows = self._histories.items[first:last].tolist()
        times = None if self._histories.times is None else self._histories.times[first:last].tolist()
        bounds = itertools.pairwise((offsets - first).tolist())
        return [
            self._command(user, rows[begin:stop][::-1], None if times is None else times[begin:stop][::-1])
            for user, (begin, stop) in enumerate(bounds, start)
            if begin < stop
        ]

    def _command(self, user: int, newest_first: list[int], times: list[int] | None) -> bytes:
        count = min(len(newest_first), self._seen_cap)
        pairs: list[Any] = [b""] * (2 * count)
        items = self._items
        pairs[1::2] = [items[row] for row in newest_first[:count]]
        if times is None:
            newest = FIRST_TIME
            pairs[::2] = self._places[len(newest_first) - count : len(newest_first)][::-1]
            written = b"".join(pairs)
        else:
            newest, oldest = times[0], times[count - 1]
            digits = len(str(newest))
            if len(str(oldest)) == digits:  # times of this century are: one pass over all of them
                pairs[::2] = times[:count]
                written = (b"$%d\r\n%%d\r\n%%b" % digits * count) % tuple(pairs)
            else:
                pairs[::2] = map(_argument, times[:count])
                written = b"".join(pairs)
        user_id = self._histories.user_ids[user]
        key = _argument(self._keys.history(user_id)) + _argument(self._keys.seen(user_id))
        return b"*%d\r\n%b%b%b%b%b" % (9 + 2 * count, self._call, key, _argument(newest), self._limits, written)


def _argument(value: str | int) -> bytes:
    data = str(value).encode()
    return b"$%d\r\n%b\r\n" % (len(data), data)


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
