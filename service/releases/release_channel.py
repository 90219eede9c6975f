"""Hears from Redis that a release was activated. Only ever a hint to look now: messages may be lost, polling is not."""

import asyncio
import random
from contextlib import suppress

from service.redis_connection import RedisConnection, RedisFailure, RedisUnavailableError

SILENCE_SECONDS = 15.0
"""After this long without a message Redis is asked for a sign of life; after twice as long it is connected anew."""

RETRY_SECONDS = 0.5
"""How soon a lost connection is tried again."""

CALM_SECONDS = 3.0
"""At most so long nothing is loaded after Redis came back: what waited for it comes first, and of several processes
each loads at another moment."""


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
        calm_seconds: float = CALM_SECONDS,
    ) -> None:
        self.told = asyncio.Event()
        self._connection = connection
        self._retry_seconds = retry_seconds
        self._silence_seconds = silence_seconds
        self._calm_seconds = calm_seconds
        self._has_listened = False

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
                    if message["type"] == "message":
                        self.told.set()
                    elif message["type"] == "subscribe":
                        self._subscribed()
                elif asked:
                    return
                else:
                    await channel.ping()
                    asked = True

    def _subscribed(self) -> None:
        """What came before may be missed: look, at once only if there was no outage."""
        seconds = random.uniform(0, self._calm_seconds) if self._has_listened else 0.0
        self._has_listened = True
        asyncio.get_running_loop().call_later(seconds, self.told.set)
