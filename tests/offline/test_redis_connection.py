"""Connecting to Redis, and what is said when that fails: one line with the cure, and never the password."""

import threading
import time
from pathlib import Path

import pytest
import redis

from offline import redis_connection
from offline.errors import BadInputError, JobError, LockedError
from offline.redis_connection import connect, job_lock, named_errors, without_password
from service.contract.redis_keys import RedisKeys
from service.contract.redis_server import RedisServerError

SECRET = "s3cr3t"
UNUSED_PORT = 1


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url)


def test_the_named_server_answers(redis_url: str, tmp_path: Path) -> None:
    with connect(redis_url, tmp_path) as client:
        assert client.ping()
    assert list(tmp_path.iterdir()) == []  # no private server was started


@pytest.mark.parametrize("url", [None, ""])
def test_without_a_url_it_is_the_private_server_of_the_home(
    url: str | None, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(redis_connection, "ensure_server", lambda home: asked.append(home) or redis_url)
    with connect(url, tmp_path) as client:
        assert client.ping()
    assert asked == [tmp_path]


def test_the_url_may_stand_in_a_file_as_it_may_for_the_service(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "url").write_text(f"{redis_url}\n")
    monkeypatch.setenv("MMGREC_REDIS_URL_FILE", str(tmp_path / "url"))
    with connect(None, tmp_path / "home") as client:
        assert client.ping()
    assert not (tmp_path / "home").exists()  # no private server was started
    with pytest.raises(JobError):
        connect(f"redis://127.0.0.1:{UNUSED_PORT}/0", tmp_path)  # a flag or a variable goes before


@pytest.mark.parametrize("content", [None, b"", b"\xff"])
def test_a_file_of_the_url_that_cannot_be_used_is_named(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is not None:
        (tmp_path / "url").write_bytes(content)
    monkeypatch.setenv("MMGREC_REDIS_URL_FILE", str(tmp_path / "url"))
    with pytest.raises(BadInputError, match=r"MMGREC_REDIS_URL_FILE=.*/url"):
        connect(None, tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://127.0.0.1:{UNUSED_PORT}/0",
        f"redis://:{SECRET}@127.0.0.1:{UNUSED_PORT}/0",
        f"redis://admin:{SECRET}@127.0.0.1:{UNUSED_PORT}/0",
        f"redis://admin:{SECRET}@{SECRET}@127.0.0.1:{UNUSED_PORT}/0",
        f"redis://127.0.0.1:{UNUSED_PORT}/0?password={SECRET}",
        f"unix://:{SECRET}@/nowhere/redis.sock",
        "unix:///nowhere/redis.sock",
    ],
)
def test_an_unreachable_server_is_one_line_with_the_cure(url: str, tmp_path: Path) -> None:
    with pytest.raises(JobError) as caught:
        connect(url, tmp_path)
    message = str(caught.value)
    assert message.startswith("Redis at ")
    assert "start it, correct MMGREC_REDIS_URL (--redis-url), or unset it to use the private server" in message
    assert "\n" not in message
    assert SECRET not in message


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:6379",
        "http://127.0.0.1:6379",
        f"redis://:{SECRET}/7@127.0.0.1:6379/0",  # an unescaped slash: half of the password looks like a port
        f"redis://:{SECRET}@127.0.0.1:port/0",
        f"redis://127.0.0.1:6379/0?pass={SECRET}",
    ],
)
def test_a_url_that_is_none_is_one_line_with_the_cure(url: str, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"the Redis URL cannot be used; write redis://HOST:PORT/DB") as caught:
        connect(url, tmp_path)
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None  # a trace would print it


def test_a_wrong_password_is_not_repeated(own_redis, tmp_path: Path) -> None:
    own_redis.start()
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("requirepass", "another one")
    for url in (own_redis.url, own_redis.url.replace("unix://", f"unix://:{SECRET}@")):
        with pytest.raises(JobError, match="is not reachable") as caught:
            connect(url, tmp_path)
        assert SECRET not in str(caught.value)


def test_a_private_server_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_binary(home: Path) -> str:
        raise RedisServerError("Redis 6.2 or newer is needed, found none: install redis-server")

    monkeypatch.setattr(redis_connection, "ensure_server", no_binary)
    with pytest.raises(JobError, match="install redis-server"):
        connect(None, tmp_path)


def test_what_of_a_url_is_shown() -> None:
    assert without_password("redis://u:p@h:1/0") == without_password("redis://h:1/0?password=p") == "redis://h:1/0"


def test_what_redis_refuses_is_one_line_with_the_namespace(client: redis.Redis, namespace: str) -> None:
    keys = RedisKeys(namespace)
    client.set(keys.active, "a string")
    with (
        pytest.raises(JobError, match=rf"namespace {namespace} \(WRONGTYPE.*key of another type.*another --namespace"),
        named_errors(keys),
    ):
        client.hgetall(keys.active)
    with (
        pytest.raises(JobError, match=rf"namespace {namespace} \(unknown command.*see what the server says"),
        named_errors(keys),
    ):
        client.execute_command("BAKE")


def test_one_writer_at_a_time(client: redis.Redis, namespace: str) -> None:
    keys = RedisKeys(namespace)
    with job_lock(client, keys, "publish"):
        second = job_lock(client, keys, "publish")
        with pytest.raises(LockedError, match=f"another publish runs in namespace {namespace}; wait for it"):
            second.__enter__()
        with job_lock(client, RedisKeys(namespace + "-other"), "publish"), job_lock(client, keys, "gc"):
            pass
    with job_lock(client, keys, "publish"):
        pass


def test_the_lock_ends_with_an_error_and_by_itself_if_the_job_dies(client: redis.Redis, namespace: str) -> None:
    keys = RedisKeys(namespace)
    with pytest.raises(RuntimeError), job_lock(client, keys, "publish"):
        raise RuntimeError
    with job_lock(client, keys, "publish"):
        assert 0 < client.ttl(keys.lock("publish")) <= redis_connection.LOCK_SECONDS


def test_a_lease_that_ended_meanwhile_is_no_error_and_leaves_the_next_writer_alone(
    client: redis.Redis, namespace: str
) -> None:
    keys = RedisKeys(namespace)
    with job_lock(client, keys, "publish"):
        client.set(keys.lock("publish"), "somebody else's")
    assert client.get(keys.lock("publish")) == b"somebody else's"


def renewed(client: redis.Redis, key: str) -> bool:
    """Whether the lease gets longer again after it was made short; it has 30 seconds to."""
    client.expire(key, 30)
    while 0 < client.ttl(key) <= 30:
        time.sleep(0.01)
    return client.ttl(key) > 30


def test_a_lease_is_renewed_for_as_long_as_the_job_lives(
    client: redis.Redis, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_connection, "RENEW_SECONDS", 0.05)
    keys = RedisKeys(namespace)
    with job_lock(client, keys, "publish") as lease:
        for _ in range(3):
            assert renewed(client, keys.lock("publish"))
        lease.require()
    assert client.get(keys.lock("publish")) is None
    assert "lease" not in {thread.name for thread in threading.enumerate()}


def test_a_job_that_lost_its_lease_is_told_before_it_flips_anything(client: redis.Redis, namespace: str) -> None:
    keys = RedisKeys(namespace)
    with job_lock(client, keys, "publish") as lease:
        lease.require()
        client.set(keys.lock("publish"), "somebody else's")
        with pytest.raises(LockedError, match=f"lock of publish in namespace {namespace} was lost.*start it again"):
            lease.require()
    assert client.get(keys.lock("publish")) == b"somebody else's"


def test_a_lease_outlives_redis_being_away_for_a_moment(
    own_redis, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_connection, "RENEW_SECONDS", 0.05)
    own_redis.start()
    keys = RedisKeys(namespace)
    with redis.Redis.from_url(own_redis.url, retry=None) as client, job_lock(client, keys, "publish") as lease:
        own_redis.kill()
        time.sleep(0.5)  # some renewals fail
        own_redis.start()  # its append-only file kept the lock
        assert renewed(client, keys.lock("publish"))
        lease.require()
