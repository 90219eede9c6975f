"""What Redis knows of a user: the history that is decoded from, and the items that `exclude_seen` leaves out."""

import logging
from typing import Any, NamedTuple

import redis

from service.contract.redis_keys import HISTORY_CAP
from service.redis_connection import RedisConnection, RedisFailure, RedisUnavailableError

logger = logging.getLogger(__name__)


class UserItems(NamedTuple):
    """Item ids of one user.

    Attributes:
        history: oldest first.
        seen: in no particular order; may hold more than the history, and ids that no release knows.
    """

    history: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()


class Histories:
    """Reads users from Redis. Ids that are no UTF-8 come out with replacement characters, as ids that nobody knows."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._failing = False

    async def read(self, user_id: str) -> UserItems:
        """Read one user in one round trip; both parts are empty for a user that Redis does not know.

        Raises:
            RedisUnavailableError: Redis cannot be reached within the time limits, or a key holds another type.
        """
        keys = self._connection.keys
        try:
            async with self._connection.client.pipeline(transaction=False) as pipeline:
                pipeline.lrange(keys.history(user_id), 0, HISTORY_CAP - 1)
                pipeline.zrange(keys.seen(user_id), 0, -1)
                history, seen = await pipeline.execute()
        except (RedisUnavailableError, *RedisFailure) as error:
            self._say_once(failing=True, why=_without_user(error))
            raise RedisUnavailableError("the user's items cannot be read") from error
        self._say_once(failing=False)
        return UserItems(_texts(reversed(history)), _texts(seen))

    def _say_once(self, *, failing: bool, why: str = "") -> None:
        """Log when reading starts or stops failing: an outage must not write a line per request."""
        if failing != self._failing:
            self._failing = failing
            logger.warning("histories %s%s", "cannot be read, answers are degraded" if failing else "are back", why)


def _without_user(error: Exception) -> str:
    """Why Redis failed; a refused command is not quoted, for it holds the user's id."""
    refused = isinstance(error, redis.ResponseError)
    return f": {type(error).__name__}" + ("; is a key of another type in the namespace?" if refused else f": {error}")


def _texts(raw: Any) -> tuple[str, ...]:
    return tuple(item.decode("utf-8", "replace") for item in raw)
