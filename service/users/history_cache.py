"""The last known items of users, for the time that Redis cannot be read."""

import sys
from collections import OrderedDict

from service.users.user_items import UserItems

DEFAULT_CACHE_BYTES = 64 * 2**20
_ENTRY_BYTES = 400  # entry of the dictionary, user id, tuples


class HistoryCache:
    """Least recently read users leave first, once the strings and what holds them take more than `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[str, tuple[UserItems, int]] = OrderedDict()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, user_id: str, items: UserItems) -> None:
        """Remember what was read just now. A user without items is not kept: an unknown one is answered alike."""
        entry = self._entries.get(user_id)
        if entry is not None and entry[0] == items:
            self._entries.move_to_end(user_id)
            return
        self.remove(user_id)
        if not items.history and not items.seen:
            return
        size = _size(items)
        if size > self._max_bytes:
            return
        self._entries[user_id] = (items, size)
        self.size_bytes += size
        while self.size_bytes > self._max_bytes:
            _, (_, freed) = self._entries.popitem(last=False)
            self.size_bytes -= freed

    def get(self, user_id: str) -> UserItems | None:
        """What was last read, None where that is not known any more."""
        entry = self._entries.get(user_id)
        return None if entry is None else entry[0]

    def remove(self, user_id: str) -> None:
        """Forget a user."""
        entry = self._entries.pop(user_id, None)
        if entry is not None:
            self.size_bytes -= entry[1]


def _size(items: UserItems) -> int:
    count = len(items.history) + len(items.seen)
    return _ENTRY_BYTES + 8 * count + sum(map(sys.getsizeof, items.history)) + sum(map(sys.getsizeof, items.seen))
