"""The one Redis of a service process: the private server of `home`, or the one that the settings name."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.asyncio import BlockingConnectionPool
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from service.contract.redis_keys import RedisKeys
from service.contract.redis_server import RedisServerError, ensure_server
from service.contract.release_store import ReleaseStore
from service.settings import Settings

RedisFailure = (redis.RedisError, OSError)
"""What a client raises when Redis cannot be reached or does not do as asked."""

_RETRIES = 1  # a pooled connection may be dead since Redis restarted; a fresh one then works at once
_RETRIED = (redis.ConnectionError,)  # and not timeouts: who waited once has no time to wait twice
_MAX_CONNECTIONS = 64  # one round trip each, so a few serve thousands of requests a second


def is_timeout(error: BaseException | None) -> bool:
    """Whether time ran out, also where the client tells it as a failed connection (a handshake without an answer)."""
    while error is not None:
        if isinstance(error, redis.TimeoutError | TimeoutError):
            return True
        error = error.__cause__ or error.__context__
    return False


def is_refused(error: BaseException | None) -> bool:
    """Whether Redis answered that its user may not do that (NOPERM)."""
    return isinstance(error, redis.exceptions.NoPermissionError)


RETRY_SPREAD_SECONDS = 4.0
"""Over so long those who Redis refused are told to come back."""


class RedisUnavailableError(RuntimeError):
    """Redis cannot be reached, or does not do as asked; the message is for callers and holds no address.

    Attributes:
        retry_after_seconds: when to come back; drawn anew each time, so that those who were refused during an outage do
            not all come in its first second, beside everybody else.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.retry_after_seconds = random.uniform(0, RETRY_SPREAD_SECONDS)


class RedisConnection:
    """Hands out one blocking client (releases) and one asyncio client (histories) to the same server.

    Attributes:
        keys: of the namespace.
        generation: grows with every `reconnect`; who holds a connection across it connects anew.
    """

    def __init__(self, settings: Settings) -> None:
        self.keys = RedisKeys(settings.namespace)
        self.generation = 0
        self._settings = settings
        self._url: str | None = None
        self._blocking: redis.Redis | None = None
        self._asyncio: AsyncRedis | None = None
        self._replaced: list[AsyncRedis] = []

    def open(self) -> ReleaseStore:
        """Find the server, starting the private one if it is down, and give its releases. Blocks; never on the loop.

        Raises:
            RedisUnavailableError: the private server cannot be started.
            ValueError: the URL cannot be used.
        """
        if self._settings.redis_url is not None:
            url = self._settings.redis_url.get_secret_value()
        else:
            try:
                url = ensure_server(self._settings.home)
            except RedisServerError as error:
                raise RedisUnavailableError(str(error)) from error
        if url != self._url or self._blocking is None:
            self._connect(url)
        assert self._blocking is not None
        return ReleaseStore(
            self._blocking,
            self.keys,
            blobs_url=self._settings.blobs_url,
            verification_keys=self._settings.accepted_keys,
        )

    @contextmanager
    def reached(self) -> Iterator[ReleaseStore]:
        """The releases, for callers of the service: whatever Redis does, they are told the cure. Blocks.

        Raises:
            RedisUnavailableError: Redis cannot be reached.
        """
        try:
            yield self.open()
        except (RedisUnavailableError, *RedisFailure) as error:
            raise RedisUnavailableError(self.cure_of(error)) from error

    def cure_of(self, error: BaseException) -> str:
        """What callers are told when Redis failed with this error; a refusal is no outage."""
        if is_refused(error):
            return (
                f"the user of MMGREC_REDIS_URL has no permission for namespace {self.keys.namespace!r}: "
                "make its Redis user for that namespace, or correct MMGREC_NAMESPACE"
            )
        return self.cure

    @property
    def cure(self) -> str:
        """What callers are told when Redis is away; without its address, which is nobody's business."""
        if self._settings.redis_kind == "embedded":
            return "the private Redis cannot be reached: see the service's log, or set MMGREC_REDIS_URL"
        return "the Redis of MMGREC_REDIS_URL cannot be reached: start it, or correct MMGREC_REDIS_URL"

    @property
    def client(self) -> AsyncRedis:
        """Client for the event loop.

        Raises:
            RedisUnavailableError: no server has been found yet.
        """
        if self._asyncio is None:
            raise RedisUnavailableError("no Redis has been found yet")
        return self._asyncio

    async def reconnect(self) -> None:
        """Let nobody stay with the server that was reached so far: its name may lead to another one by now.

        Connections in use are left to their users; whoever keeps one for good goes by `generation`.

        Raises:
            RedisUnavailableError: no server has been found yet.
        """
        self.generation += 1
        if self._blocking is not None:
            self._blocking.connection_pool.disconnect(inuse_connections=False)
        await self.client.connection_pool.disconnect(inuse_connections=False)

    async def is_up(self) -> bool:
        """Whether Redis answers a PING within the time limits of the settings."""
        try:
            return bool(await self.client.ping())
        except (RedisUnavailableError, *RedisFailure):
            return False

    async def close(self) -> None:
        """Close every connection."""
        for client in (*self._replaced, *([self._asyncio] if self._asyncio else [])):
            await client.aclose()
        if self._blocking is not None:
            self._blocking.close()

    def _connect(self, url: str) -> None:
        connect_seconds = self._settings.redis_connect_timeout_seconds
        self._blocking = redis.Redis.from_url(
            url,
            socket_timeout=self._settings.release_timeout_seconds,
            socket_connect_timeout=connect_seconds,
            retry=Retry(NoBackoff(), _RETRIES),
        )
        if self._asyncio is not None:
            self._replaced.append(self._asyncio)  # requests may still hold it, and only the loop may close it
        # The default pool fails as soon as its connections are all in use; this one lets a request wait for its turn.
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_MAX_CONNECTIONS,
            timeout=connect_seconds + self._settings.redis_timeout_seconds,
            socket_timeout=self._settings.redis_timeout_seconds,
            socket_connect_timeout=connect_seconds,
            retry=AsyncRetry(NoBackoff(), _RETRIES, _RETRIED),
        )
        self._asyncio = AsyncRedis.from_pool(pool)
        self._url = url
