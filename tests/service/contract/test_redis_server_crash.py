"""A private Redis that was killed, hangs or lost its socket: no acknowledged write is lost, no second server writes."""

import os
import shutil
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from service.contract import redis_server
from service.contract.redis_server import RedisServerError, ensure_server, stop_server

pytestmark = [
    pytest.mark.usefixtures("temp"),
    pytest.mark.skipif(os.name != "posix", reason="the private Redis needs Linux or macOS"),
]


@pytest.mark.usefixtures("binary")
def test_a_killed_server_loses_no_acknowledged_write(home: Path, servers: Any) -> None:
    """Kills in the middle of a stream of writes, three times over; a write counts once its reply has arrived."""
    acknowledged: list[int] = []

    def write(url: str) -> None:
        with servers.client_of(url) as client:
            while True:
                try:
                    client.set(f"key:{len(acknowledged)}", len(acknowledged))
                except redis.ConnectionError:
                    return
                acknowledged.append(len(acknowledged))

    for _ in range(3):
        url = ensure_server(home)
        before = len(acknowledged)
        writers = threading.Thread(target=write, args=(url,))
        writers.start()
        servers.wait_until(lambda before=before: len(acknowledged) > before + 200)
        servers.kill(servers.pid_of(url))
        writers.join(timeout=10)
        assert not writers.is_alive()
        with servers.client_of(ensure_server(home)) as client:
            found = client.mget([f"key:{number}" for number in acknowledged])
        assert found == [str(number) for number in acknowledged]


@pytest.mark.usefixtures("binary")
def test_half_a_command_at_the_end_of_the_data_is_dropped(home: Path, servers: Any) -> None:
    url = ensure_server(home)
    with servers.client_of(url) as client:
        client.set("whole", "1")
    servers.kill(servers.pid_of(url))
    (data,) = [*home.glob("redis/appendonly.aof"), *home.glob("redis/appendonlydir/*.incr.aof")]
    with data.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$4\r\nhal")
    with servers.client_of(ensure_server(home)) as client:
        assert client.keys() == ["whole"]


@pytest.mark.usefixtures("binary")
def test_waits_until_the_data_is_loaded(home: Path, servers: Any) -> None:
    (home / "redis").mkdir(parents=True, mode=0o700)
    count = 300_000
    with (home / "redis" / "appendonly.aof").open("w", newline="") as file:  # Redis 7 takes over this form of 6.2
        file.write("*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n")
        for number in range(count):
            file.write(f"*3\r\n$3\r\nSET\r\n$7\r\n{number:07}\r\n$1\r\n1\r\n")
    with servers.client_of(ensure_server(home)) as client:
        assert client.dbsize() == count


@pytest.mark.usefixtures("any_binary")
def test_a_stale_socket_is_replaced(home: Path, servers: Any) -> None:
    url = ensure_server(home)
    servers.kill(servers.pid_of(url))
    assert Path(url.removeprefix("unix://")).is_socket()
    assert ensure_server(home) == url
    assert servers.pid_of(url)


@pytest.mark.usefixtures("any_binary")
def test_the_server_outlives_its_starter_and_all_of_its_group(home: Path, servers: Any) -> None:
    caller = servers.start_caller(home)
    assert caller.stdout is not None
    assert caller.stdin is not None
    caller.stdin.write("go\n")
    caller.stdin.flush()
    assert caller.stdout.readline() == "ready\n"
    url, _, pid = caller.stdout.readline().split()
    with suppress(ProcessLookupError):  # it may have ended by itself
        os.killpg(caller.pid, signal.SIGKILL)
    caller.communicate(timeout=10)
    assert servers.is_alive(int(pid))
    assert ensure_server(home) == url
    assert servers.pid_of(url) == int(pid)


@pytest.mark.usefixtures("any_binary")
def test_a_deleted_home_begins_empty(home: Path, servers: Any) -> None:
    url = ensure_server(home)
    pid = servers.pid_of(url)
    with servers.client_of(url) as client:
        client.set("key", "gone")
    shutil.rmtree(home)
    with servers.client_of(ensure_server(home)) as client:
        assert client.keys() == []
    servers.wait_until(lambda: not servers.is_alive(pid))


@pytest.mark.usefixtures("any_binary")
def test_the_server_of_a_deleted_home_can_be_stopped(home: Path, servers: Any) -> None:
    pid = servers.pid_of(ensure_server(home))
    shutil.rmtree(home)
    assert stop_server(home)
    servers.wait_until(lambda: not servers.is_alive(pid))
    assert not home.exists()


@pytest.mark.usefixtures("any_binary")
def test_a_hanging_server_is_named(home: Path, monkeypatch: pytest.MonkeyPatch, servers: Any) -> None:
    pid = servers.pid_of(ensure_server(home))
    monkeypatch.setattr(redis_server, "START_LIMIT_SECONDS", 0.1)
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(RedisServerError, match=r"after 0.1 s: .*timed out.* kill it, its id is in redis.pid"):
            ensure_server(home)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert (home / "redis" / "redis.pid").read_text().strip() == str(pid)


@pytest.mark.usefixtures("any_binary")
def test_a_living_server_whose_socket_is_gone_gets_no_second_one(
    home: Path, monkeypatch: pytest.MonkeyPatch, servers: Any
) -> None:
    url = ensure_server(home)
    pid = servers.pid_of(url)
    Path(url.removeprefix("unix://")).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(redis_server, "START_LIMIT_SECONDS", 0.1)
        for call in (ensure_server, stop_server):
            with pytest.raises(RedisServerError, match=r"alive, but .* kill it, its id is in redis.pid"):
                call(home)
    if sys.platform == "linux":
        assert servers.working_in(home) == [pid]
    servers.kill(pid)
    assert ensure_server(home) == url


@pytest.mark.usefixtures("any_binary")
def test_a_start_that_fails_quotes_the_log(home: Path) -> None:
    (home / "redis").mkdir(parents=True, mode=0o700)
    (home / "redis" / "appendonly.aof").write_text("this is no append-only file\n" * 10)
    began = time.monotonic()
    with pytest.raises(RedisServerError, match=r"(?s)ended while starting: mend .*redis.log ends:.*Bad file format"):
        ensure_server(home)
    assert time.monotonic() - began < 10
    assert not stop_server(home)
