"""Writes to Redis on behalf of a request: pipelines and scripts, and what a caller is told when they fail."""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Sequence
from typing import Any

import redis
from redis.asyncio.client import Pipeline

from service.redis_connection import RedisConnection, RedisFailure, RedisUnavailableError, is_refused
from service.users.circuit_breaker import PAUSE_SECONDS, CircuitBreaker

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 16
"""Writes under way; the others wait, so that writes that hang leave connections for reads."""


class Script:
    """A Lua script and the name that Redis calls it by."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.sha1 = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


ScriptCall = tuple[Sequence[str], Sequence[str | int]]
"""Keys, all of one user, and arguments of one run of a script."""


class RedisWrites:
    """Sends writes in one round trip each; without MULTI, because users live on different servers of a Cluster.

    Attributes:
        failures: writes that Redis did not take.
    """

    def __init__(self, connection: RedisConnection, *, pause_seconds: float = PAUSE_SECONDS) -> None:
        self.failures = 0
        self._connection = connection
        self._breaker = CircuitBreaker(pause_seconds)
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)
        self._failing = False

    async def send(self, fill: Callable[[Pipeline], object]) -> list[Any]:
        """Run the commands that `fill` puts into a pipeline, and give their replies.

        Raises:
            RedisUnavailableError: Redis cannot be reached in time, or refuses any of them; what was written before that
                stays.
        """
        replies = await self._execute(fill)
        await self._refuse(next((reply for reply in replies if isinstance(reply, Exception)), None))
        return replies

    async def run(self, script: Script, calls: Sequence[ScriptCall]) -> list[Any]:
        """Run a script once per call, and give the replies; None where a key of another type stands in the way.

        Raises:
            RedisUnavailableError: as in `send`.
        """

        def by_name(pipeline: Pipeline) -> None:
            for keys, arguments in calls:
                pipeline.evalsha(script.sha1, len(keys), *keys, *arguments)

        replies = await self._execute(by_name)
        unknown = [at for at, reply in enumerate(replies) if isinstance(reply, redis.exceptions.NoScriptError)]
        if unknown:  # the first calls, or Redis was restarted

            def in_full(pipeline: Pipeline) -> None:
                for at in unknown:
                    keys, arguments = calls[at]
                    pipeline.eval(script.source, len(keys), *keys, *arguments)

            for at, reply in zip(unknown, await self._execute(in_full), strict=True):
                replies[at] = reply
        errors = [reply for reply in replies if isinstance(reply, Exception)]
        await self._refuse(next((error for error in errors if not _is_wrong_type(error)), None))
        return [None if isinstance(reply, Exception) else reply for reply in replies]

    async def _execute(self, fill: Callable[[Pipeline], object]) -> list[Any]:
        """Replies, refused commands as errors among them."""
        async with self._turns:
            if self._breaker.refuses():
                raise self._failure("Redis did not answer in time a moment ago")
            try:
                async with self._connection.client.pipeline(transaction=False) as pipeline:
                    fill(pipeline)
                    replies = list(await pipeline.execute(raise_on_error=False))
            except (RedisUnavailableError, *RedisFailure) as error:
                self._breaker.failed(error)
                raise self._failure(self._connection.cure_of(error), error) from error
            self._breaker.answered()
            return replies

    async def _refuse(self, error: Exception | None) -> None:
        """Raise what a refused command means, if there is one; else remember that all is well."""
        if error is None:
            if self._failing:
                self._failing = False
                logger.warning("Redis takes writes again")
            return
        text = str(error)
        if isinstance(error, redis.exceptions.ReadOnlyError) or "READONLY" in text:
            # The name of the server may lead to another one since it was demoted: connect anew, reads as well.
            await self._connection.reconnect()
            raise self._failure("Redis takes no writes: it is a replica, or it is failing over", error)
        if isinstance(error, redis.exceptions.OutOfMemoryError) or "OOM" in text:
            raise self._failure("Redis is full: raise its maxmemory, or keep fewer events and shorter histories", error)
        if is_refused(error):
            raise self._failure(self._connection.cure_of(error), error)
        raise self._failure("Redis refuses to write: the service's log says why", error)

    def _failure(self, why: str, error: Exception | None = None) -> RedisUnavailableError:
        """What a caller is told; the log has the error, once per outage and not in full."""
        self.failures += 1
        if not self._failing and error is not None:
            self._failing = True
            logger.warning("writes fail: %s (%s: %s)", why, type(error).__name__, _first_words(error))
        return RedisUnavailableError(f"not stored: {why}; send it again later")


def _is_wrong_type(error: Exception) -> bool:
    return "WRONGTYPE" in str(error)


def _first_words(error: Exception) -> str:
    return str(error)[:100]
