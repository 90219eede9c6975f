"""What a client of Redis must be able to do for releases; redis-py's `Redis` can."""

from typing import Any, Protocol

from service.contract.arm_pointers import RedisPointers
from service.contract.blob_store import RedisStrings


class RedisClient(RedisStrings, RedisPointers, Protocol):
    """The few commands that a release needs; values are bytes (`decode_responses=False`). Safe for several threads."""

    def set(self, name: str, value: Any, *, nx: bool = False) -> Any: ...  # noqa: D102
