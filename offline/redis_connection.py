"""The Redis of the jobs: the one named by `MMGREC_REDIS_URL`, else the private server of a home folder."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import redis
from redis.exceptions import LockError
from redis.lock import Lock

from offline.errors import BadInputError, JobError, LockedError
from service.contract.redis_keys import RedisKeys
from service.contract.redis_server import RedisServerError, ensure_server

URL_FILE = "MMGREC_REDIS_URL_FILE"
LOCK_SECONDS, RENEW_SECONDS = 60, 20
"""How long a lock outlives a job that died, and how often a living one renews it."""

CURE = "start it, correct MMGREC_REDIS_URL (--redis-url), or unset it to use the private server"


def connect_other(url: str, flag: str) -> redis.Redis:
    """A connection to another Redis than that of the job, which has answered a PING.

    Args:
        url: of it.
        flag: that named it, for messages; without a URL there is nothing to fall back on.

    Raises:
        BadInputError: the URL is empty.
        JobError: as from `connect`.
    """
    if not url:
        raise BadInputError(f"{flag} is empty; give the URL of a Redis, such as redis://HOST:PORT/DB")
    return _connect(url, f"the Redis URL of {flag}", f"start it, or correct {flag}")


def connect(redis_url: str | None, home: Path) -> redis.Redis:
    """A connection that has answered a PING.

    Args:
        redis_url: of the flag or its variable; None for the file that `MMGREC_REDIS_URL_FILE` names, as in the service,
            and without one for the private server.
        home: folder of the private server.

    Raises:
        BadInputError: the file of the URL cannot be read.
        JobError: the server cannot be reached or started; a password in the URL is not repeated.
    """
    named = redis_url or _url_in_file()
    try:
        url = named or ensure_server(home)
    except RedisServerError as error:
        raise JobError(str(error)) from error
    return _connect(url, "the Redis URL", CURE)


def _connect(url: str, name: str, cure: str) -> redis.Redis:
    try:
        client = redis.Redis.from_url(url, socket_connect_timeout=5, socket_timeout=60)
        client.ping()
    except (ValueError, TypeError):  # the text may quote a part of the password
        raise JobError(
            f"{name} cannot be used; write redis://HOST:PORT/DB, rediss://HOST:PORT/DB or unix://PATH, "
            "with special characters of a password percent-encoded"
        ) from None
    except redis.RedisError as error:
        raise JobError(f"Redis at {without_password(url)} is not reachable ({error}); {cure}") from error
    return client


def _url_in_file() -> str | None:
    name = os.environ.get(URL_FILE)
    if not name:
        return None
    try:
        url = Path(name).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{URL_FILE}={name!r}: the file cannot be read; correct the path") from error
    if not url:
        raise BadInputError(f"{URL_FILE}={name!r}: the file is empty; write the URL into it")
    return url


def namespace_keys(namespace: str) -> RedisKeys:
    """The keys of a namespace.

    Raises:
        BadInputError: that is no namespace.
    """
    try:
        return RedisKeys(namespace)
    except ValueError as error:
        raise BadInputError(str(error)) from error


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


@contextmanager
def named_errors(keys: RedisKeys) -> Iterator[None]:
    """What Redis refuses inside becomes one line with the namespace and the cure.

    Raises:
        JobError: Redis answered a command with an error.
    """
    try:
        yield
    except redis.ResponseError as error:
        cure = "see what the server says"
        if "WRONGTYPE" in str(error):
            cure = "a key of another type is in it: take another --namespace, or remove that key"
        raise JobError(f"Redis refused a command in namespace {keys.namespace} ({error}); {cure}") from error


class Lease:
    """A held lock, renewed by a thread for as long as the job lives."""

    def __init__(self, lock: Lock, job: str, keys: RedisKeys) -> None:
        self._lock = lock
        self._what = f"{job} in namespace {keys.namespace}"
        self._ended = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._renewing.start()

    def require(self) -> None:
        """To be asked before what must not be done by two at once.

        Raises:
            LockedError: the lease ended (this process was stopped, or Redis away, for longer than it lasts).
        """
        if not self._lock.owned():
            raise LockedError(f"the lock of {self._what} was lost, and another job may run: start it again")

    def end(self) -> None:
        """Stop renewing, and give the lock back."""
        self._ended.set()
        self._renewing.join()
        with suppress(LockError):  # it had ended; what was written is content-addressed and harmless
            self._lock.release()

    def _renew(self) -> None:
        while not self._ended.wait(RENEW_SECONDS):
            with suppress(redis.RedisError):  # the next one may succeed; `require` says if not
                self._lock.reacquire()


@contextmanager
def job_lock(client: redis.Redis, keys: RedisKeys, job: str) -> Iterator[Lease]:
    """One writer per namespace, with a lease that ends by itself if the job dies.

    Raises:
        LockedError: another process holds the lock.
    """
    lock = client.lock(keys.lock(job), timeout=LOCK_SECONDS, blocking=False, thread_local=False)
    if not lock.acquire():
        raise LockedError(
            f"another {job} runs in namespace {keys.namespace}; wait for it (its lock ends after at most "
            f"{LOCK_SECONDS} seconds if it died)"
        )
    lease = Lease(lock, job, keys)
    try:
        yield lease
    finally:
        lease.end()
