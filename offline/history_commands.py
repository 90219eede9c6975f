"""The commands that write users' histories, as Redis reads them: `*<arguments>`, and before each of them `$<bytes>`.

redis-py would spend 40 microseconds per user on writing them out; here each item's bytes are made once, and a user is a
join of them.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from offline.user_histories import UserHistories
from service.contract.history_scripts import FIRST_TIME, HistoryLimits
from service.contract.redis_keys import HISTORY_CAP, RedisKeys


class HistoryCommands:
    """Writes commands for the users of a dataset; those without items have none.

    Args:
        histories: what users did.
        keys: of the namespace.
        limits: caps and TTLs.
        replace_sha1: name of the script `REPLACE` on the server.
    """

    def __init__(self, histories: UserHistories, keys: RedisKeys, limits: HistoryLimits, replace_sha1: str) -> None:
        self._histories, self._keys, self._limits = histories, keys, limits
        self._items = [_argument(item_id) for item_id in histories.item_ids]
        longest = int(np.diff(histories.offsets).max(initial=0))
        self._places = [_argument(place) for place in range(longest)]
        self._replace = _argument("EVALSHA") + _argument(replace_sha1) + _argument(2)
        ttls = _argument(limits.history_ttl_seconds) + _argument(limits.seen_ttl_seconds)
        self._replace_limits = _argument(HISTORY_CAP) + ttls

    def keys(self, start: int, end: int) -> list[bytes]:
        """Arguments: both keys of each of the user rows from `start` to before `end`."""
        occupied = np.flatnonzero(np.diff(self._histories.offsets[start : end + 1]))
        names = [self._histories.user_ids[start + row] for row in occupied.tolist()]
        return [_argument(key) for name in names for key in (self._keys.history(name), self._keys.seen(name))]

    def creating(self, keys: Sequence[bytes], start: int, end: int) -> list[bytes]:
        """Commands for users of whom Redis has neither key.

        Args:
            keys: of these users.
            start: the first user row.
            end: behind the last one.
        """
        commands: list[bytes] = []
        for at, (_, items, scored) in enumerate(self._items_of(start, end)):
            history_key, seen_key = keys[2 * at : 2 * at + 2]
            listed = items[:HISTORY_CAP]
            commands.append(b"*%d\r\n$5\r\nRPUSH\r\n%b%b" % (2 + len(listed), history_key, b"".join(listed)))
            number = 3 + 2 * len(items)
            commands.append(b"*%d\r\n$4\r\nZADD\r\n%b$2\r\nGT\r\n%b" % (number, seen_key, scored))
            if self._limits.history_ttl_seconds:
                commands.append(_expire(history_key, self._limits.history_ttl_seconds))
            if self._limits.seen_ttl_seconds:
                commands.append(_expire(seen_key, self._limits.seen_ttl_seconds))
        return commands

    def replacing(self, keys: Sequence[bytes], start: int, end: int) -> list[bytes]:
        """One call of `REPLACE` for each user: whoever has something newer keeps it. Arguments as for `creating`."""
        commands: list[bytes] = []
        for at, (newest, items, scored) in enumerate(self._items_of(start, end)):
            named = b"".join(keys[2 * at : 2 * at + 2])
            number = 9 + 2 * len(items)
            settings = _argument(newest) + self._replace_limits
            commands.append(b"*%d\r\n%b%b%b%b" % (number, self._replace, named, settings, scored))
        return commands

    def _items_of(self, start: int, end: int) -> Iterator[tuple[int, list[bytes], bytes]]:
        """For each user the newest time; the items, as arguments; times and items in turn, joined. Newest first."""
        offsets = self._histories.offsets[start : end + 1]
        first, last = int(offsets[0]), int(offsets[-1])
        rows = self._histories.items[first:last].tolist()
        times = None if self._histories.times is None else self._histories.times[first:last].tolist()
        for begin, stop in itertools.pairwise((offsets - first).tolist()):
            if begin == stop:
                continue
            oldest_kept = max(begin, stop - self._limits.seen_cap)
            items = [self._items[row] for row in rows[oldest_kept:stop]]
            items.reverse()
            if times is None:
                scored = _interleaved(self._places[oldest_kept - begin : stop - begin][::-1], items)
                yield FIRST_TIME, items, scored
            else:
                newest_first = times[oldest_kept:stop]
                newest_first.reverse()
                yield newest_first[0], items, _timed(newest_first, items)


def _timed(newest_first: list[int], items: list[bytes]) -> bytes:
    digits = len(str(newest_first[0]))
    if len(str(newest_first[-1])) < digits:
        return _interleaved(list(map(_argument, newest_first)), items)
    pairs: list[Any] = [b""] * (2 * len(items))  # times of this century have as many: one pass over all of them
    pairs[::2], pairs[1::2] = newest_first, items
    return (b"$%d\r\n%%d\r\n%%b" % digits * len(items)) % tuple(pairs)


def _interleaved(scores: list[bytes], items: list[bytes]) -> bytes:
    return b"".join(itertools.chain.from_iterable(zip(scores, items, strict=True)))


def _expire(key: bytes, seconds: int) -> bytes:
    return b"*3\r\n$6\r\nEXPIRE\r\n%b%b" % (key, _argument(seconds))


def _argument(value: str | int) -> bytes:
    data = str(value).encode()
    return b"$%d\r\n%b\r\n" % (len(data), data)
