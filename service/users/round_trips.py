"""One connection to Redis for a reader that asks one thing after the other: half the CPU of a pool and a pipeline."""

import asyncio
import math
import time
from collections.abc import Sequence
from typing import Any, cast

import hiredis
import redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.connection import AbstractConnection

from service.redis_connection import RedisConnection, is_timeout

Command = tuple[str | int, ...]

MOST_AGE_SECONDS = 60.0
"""Of the connection. A demoted server answers reads as ever, and without a refused write nobody hears of it."""


class RoundTrips:
    """Sends commands together and gives their replies. Not for two callers at once.

    Args:
        connection: to the server.
        most_age_seconds: after which the name of the server is looked up anew.
    """

    def __init__(self, connection: RedisConnection, *, most_age_seconds: float = MOST_AGE_SECONDS) -> None:
        self._connection = connection
        self._most_age_seconds = most_age_seconds
        self._renew_at = 0.0
        self._client: AsyncRedis | None = None
        self._held: AbstractConnection | None = None
        self._generation = connection.generation
        self._limit_seconds = math.inf

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """The replies, as Redis sends them; a refused command is its error.

        Raises:
            RedisUnavailableError: no server has been found yet.
            redis.RedisError, OSError: the server cannot be reached, or does not answer in time.
        """
        held = await self._take()
        was_connected = held.is_connected
        try:
            return await self._exchange(held, commands)
        except redis.ConnectionError as error:
            if not was_connected or is_timeout(error):
                raise
            return await self._exchange(held, commands)  # it had died with the server that was there before

    async def _take(self) -> AbstractConnection:
        """The connection; another when the private server has moved, a fresh one when its name may lead elsewhere."""
        client, generation, now = self._connection.client, self._connection.generation, time.monotonic()
        if self._client is not client or self._generation != generation or now >= self._renew_at:
            if self._held is not None:
                await self._held.disconnect(nowait=True)  # connects when it is next used
            self._generation, self._renew_at = generation, now + self._most_age_seconds
        if self._held is None or self._client is not client:
            self._held = None  # so that a failure below leaves nothing of the old server
            held = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
            self._client, self._limit_seconds, held.socket_timeout = client, held.socket_timeout or math.inf, None
            self._held = held
        return self._held

    async def _exchange(self, held: AbstractConnection, commands: Sequence[Command]) -> list[Any]:
        """One time limit for all of it, where the client's own would be one for every reply, each with its timer."""
        connecting = 0.0 if held.is_connected else held.socket_connect_timeout or math.inf
        limit = self._limit_seconds + connecting
        try:
            async with asyncio.timeout(limit if limit < math.inf else None):
                await held.send_packed_command(b"".join(_packed(each) for each in commands))
                return [await _reply(held) for _ in commands]
        except TimeoutError:
            await held.disconnect(nowait=True)  # the rest of the answer may still come, and belongs to nobody
            raise redis.TimeoutError(f"Redis has not answered within {limit:g} s") from None


async def _reply(held: AbstractConnection) -> Any:
    try:
        return await held.read_response()
    except redis.ResponseError as error:  # of this command alone: the next reply follows
        return error


def _packed(command: Command) -> bytes:
    return cast(bytes, hiredis.pack_command(cast(Any, command)))
