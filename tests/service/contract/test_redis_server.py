"""One private Redis per home: found again, shared, stopped, moved; folders unfit for it are refused by name."""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from service.contract.redis_server import DEFAULT_HOME, RedisServerError, ensure_server, resolve_home, stop_server

pytestmark = [
    pytest.mark.usefixtures("temp"),
    pytest.mark.skipif(os.name != "posix", reason="the private Redis needs Linux or macOS"),
]


@pytest.mark.usefixtures("binary")
@pytest.mark.parametrize("before", ["nothing", "killed", "running"])
def test_ten_processes_at_once_share_one_server(home: Path, before: str, servers: Any) -> None:
    if before != "nothing":
        pid = servers.pid_of(ensure_server(home))
        if before == "killed":
            servers.kill(pid)
    callers = [servers.start_caller(home) for _ in range(10)]
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
        assert servers.working_in(home) == [int(answers[0][0].split()[2])]


@pytest.mark.usefixtures("binary")
def test_the_server_is_set_to_lose_nothing_and_to_listen_to_its_owner_alone(home: Path, servers: Any) -> None:
    url = ensure_server(home)
    with servers.client_of(url) as client:
        settings = client.config_get()
    expected = {"appendonly": "yes", "appendfsync": "always", "aof-load-truncated": "yes", "save": "", "port": "0"}
    assert {name: settings[name] for name in expected} == expected
    address = Path(url.removeprefix("unix://"))
    assert address.stat().st_mode & 0o077 == 0
    assert address.parent.stat().st_mode & 0o777 == 0o700
    assert (home / "redis").stat().st_mode & 0o777 == 0o700


@pytest.mark.usefixtures("any_binary")
def test_the_same_server_is_found_again(home: Path, servers: Any) -> None:
    url = ensure_server(home)
    pid = servers.pid_of(url)
    assert ensure_server(home) == url
    assert ensure_server(home / ".." / home.name) == url
    assert servers.pid_of(url) == pid


@pytest.mark.usefixtures("any_binary")
def test_two_homes_have_two_servers(home: Path, tmp_path: Path, servers: Any) -> None:
    first, second = ensure_server(home), ensure_server(tmp_path / "b")
    try:
        assert first != second
        with servers.client_of(first) as one, servers.client_of(second) as other:
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
def test_stop_server(home: Path, servers: Any) -> None:
    assert not stop_server(home)
    assert not home.exists()
    url = ensure_server(home)
    pid = servers.pid_of(url)
    with servers.client_of(url) as client:
        client.set("key", "kept")
    assert stop_server(home)
    servers.wait_until(lambda: not servers.is_alive(pid))
    assert not stop_server(home)
    with servers.client_of(ensure_server(home)) as client:
        assert client.get("key") == "kept"


@pytest.mark.usefixtures("any_binary")
def test_stop_then_start_at_once_again_and_again(home: Path, servers: Any) -> None:
    pids = set()
    for _ in range(10):
        pids.add(servers.pid_of(ensure_server(home)))
        assert stop_server(home)
    assert len(pids) == 10


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
def test_a_copied_home_gets_a_server_of_its_own(home: Path, tmp_path: Path, servers: Any) -> None:
    url = ensure_server(home)
    copy = tmp_path / "copy"
    shutil.copytree(home, copy)
    (copy / "redis").chmod(0o700)
    try:
        assert ensure_server(copy) != url
        assert servers.pid_of(url)
    finally:
        assert stop_server(copy)


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


def test_the_default_home_follows_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, binaries: Any) -> None:
    binaries.use_only(monkeypatch, tmp_path)  # no binary: the start ends once the folder is made
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    for shared in (None, "relative/is/ignored", str(tmp_path / "xdg")):
        if shared:
            monkeypatch.setenv("XDG_DATA_HOME", shared)
        with pytest.raises(RedisServerError, match="found none"):
            ensure_server(DEFAULT_HOME)
    assert (tmp_path / "user/.local/share/mmgrec/redis").is_dir()
    assert (tmp_path / "xdg/mmgrec/redis").is_dir()


def test_a_resolved_home_is_the_same_folder_for_every_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    meant = {
        DEFAULT_HOME: tmp_path / "xdg/mmgrec",
        Path("~/.local/share/mmgrec").expanduser(): tmp_path / "user/.local/share/mmgrec",  # written out: meant as is
        Path("~/elsewhere"): tmp_path / "user/elsewhere",
        Path("here"): tmp_path / "here",
    }
    for home, folder in meant.items():
        assert resolve_home(home) == resolve_home(resolve_home(home)) == folder


def test_without_fcntl_the_message_names_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    for call in (ensure_server, stop_server):
        with pytest.raises(RedisServerError, match="set MMGREC_REDIS_URL"):
            call(tmp_path)
