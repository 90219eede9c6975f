"""A Redis of a benchmark's own, on a socket."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from service.contract.redis_binary import find_binary

START_SECONDS = 120.0


class RedisProcess:
    """A server that may be started more than once.

    Args:
        folder: of its socket and its files; its path must be short enough for a socket.
        options: for the server, as on its command line; without any nothing is kept.

    Attributes:
        url: of the socket.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.url = f"unix://{folder}/redis.sock"
        self._command = [find_binary((6, 2), "this is what the service needs"), "--port", "0", "--save", ""]
        self._command += ["--unixsocket", f"{folder}/redis.sock", "--dir", str(folder), *options]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it has read its file and answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        with redis.Redis.from_url(self.url) as client:
            while not _answers(client):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{self._command} ended, or took longer than {START_SECONDS} seconds")
                time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it; also one that was killed."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start it, and end it with the block."""
        try:
            self.start()
            yield
        finally:
            self.stop()


@contextmanager
def own_redis() -> Iterator[str]:
    """A Redis without persistence; gives its URL."""
    with tempfile.TemporaryDirectory(prefix="mm", dir="/tmp") as folder:
        server = RedisProcess(Path(folder))
        with server.running():
            yield server.url


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:  # also while it loads
        return False
