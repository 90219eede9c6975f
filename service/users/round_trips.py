"""One connection to Redis for a reader that asks one thing after the other: half the CPU of a pool and a pipeline."""

from collections.abc import Sequence
from typing import Any

import redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.connection import AbstractConnection

from service.redis_connection import RedisConnection, is_timeout

Command = tuple[str | int, ...]


class RoundTrips:
    """Sends commands together and gives their replies. Not for two callers at once."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._client: AsyncRedis | None = None
        self._held: AbstractConnection | None = None

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """The replies, as Redis sends them; a refused command is its error.

        Raises:
            RedisUnavailableError: no server has been found yet.
            redis.RedisError, OSError: the server cannot be reached, or does not answer in time.
        """
        held = await self._take()
        was_connected = held.is_connected
        try:
            return await _exchange(held, commands)
        except redis.ConnectionError as error:
            if not was_connected or is_timeout(error):
                raise
            return await _exchange(held, commands)  # it had died with the server that was there before

    async def _take(self) -> AbstractConnection:
        """The connection; another one when the private server has moved."""
        client = self._connection.client
        if self._held is None or self._client is not client:
            self._held = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
            self._client = client
        return self._held


async def _exchange(held: AbstractConnection, commands: Sequence[Command]) -> list[Any]:
    await held.send_packed_command(held.pack_commands(commands))
    replies: list[Any] = []
    for _ in commands:
        try:
            replies.append(await held.read_response())
        except redis.ResponseError as error:  # of this command alone: the next reply follows
            replies.append(error)
    return replies
