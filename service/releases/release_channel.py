"""Hears from Redis that a release was activated. Only ever a hint to look now: messages may be lost, polling is not."""

import asyncio
from contextlib import suppress

from service.redis_connection import RedisConnection, RedisFailure, RedisUnavailableError

SILENCE_SECONDS = 15.0
"""After this long without a message Redis is asked for a sign of life; after twice as long it is connected anew."""

RETRY_SECONDS = 0.5
"""How soon a lost connection is tried again."""


class ReleaseChannel:
    """Subscribes to the channel of releases, and again whenever the connection is lost.

    Attributes:
        told: set when there may be something new; whoever looks clears it first.
    """

    def __init__(
        self,
        connection: RedisConnection,
        *,
        retry_seconds: float = RETRY_SECONDS,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self.told = asyncio.Event()
        self._connection = connection
        self._retry_seconds = retry_seconds
        self._silence_seconds = silence_seconds

    async def wait(self, seconds: float) -> None:
        """Until something is told, or this long."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.told.wait(), seconds)

    async def listen(self) -> None:
        """Listen until cancelled."""
        while True:
            with suppress(RedisUnavailableError, *RedisFailure):
                await self._listen_once()
            await asyncio.sleep(self._retry_seconds)

    async def _listen_once(self) -> None:
        """Listen on one connection until it fails or falls silent."""
        async with self._connection.client.pubsub() as channel:
            await channel.subscribe(self._connection.keys.releases)
            asked = False
            while True:
                message = await channel.get_message(timeout=self._silence_seconds)
                if message is not None:
                    asked = False
                    if message["type"] in ("message", "subscribe"):  # once subscribed, what came before may be missed
                        self.told.set()
                elif asked:
                    return
                else:
                    await channel.ping()
                    asked = True
