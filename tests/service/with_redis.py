"""Something of the service that speaks to Redis, on an event loop of its own, connected and closed again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import redis

from service.contract.redis_keys import RedisKeys
from service.redis_connection import RedisConnection
from service.settings import Settings

Subject = TypeVar("Subject")
Result = TypeVar("Result")


def connected(
    settings: Settings, make: Callable[[RedisConnection], Subject], use: Callable[[Subject], Awaitable[Result]]
) -> Result:
    """Make it of a connection, and use it."""

    async def using() -> Result:
        connection = RedisConnection(settings)
        connection.open()
        try:
            return await use(make(connection))
        finally:
            await connection.close()

    return asyncio.run(using())


def beside_client(
    server: Any,
    keys: RedisKeys,
    make: Callable[[RedisConnection], Subject],
    use: Callable[[Subject, redis.Redis], Awaitable[Result]],
    *,
    timeout: float = 5,
) -> Result:
    """The same, with a client of the same server that bends it."""
    settings = Settings(redis_url=server.url, namespace=keys.namespace, redis_timeout_seconds=timeout)
    with redis.Redis.from_url(server.url) as client:
        return connected(settings, make, lambda subject: use(subject, client))
