"""The two processes of the soak: a Redis that is killed and comes back with its data, and the service."""

import math
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import redis

from service.contract.redis_binary import find_binary

NAMESPACE = "soak"
API_KEY = "soak-key-of-a-sensible-length"
START_SECONDS = 120.0
RECOVERY_SECONDS = 3.0
"""After Redis is back, an answer may still be degraded: the service pauses for a second after a timeout."""


@dataclass
class Outage:
    """When Redis was away, `time.monotonic()`; infinite for what has not happened yet.

    Attributes:
        began: about to be killed.
        gone: dead for certain.
        returns: about to be started.
        ended: seen to answer.
    """

    began: float
    gone: float = math.inf
    returns: float = math.inf
    ended: float = math.inf


class DurableRedis:
    """A Redis on a socket whose acknowledged writes survive SIGKILL.

    Attributes:
        url: of the socket.
        outages: in their order.
    """

    def __init__(self, folder: Path) -> None:
        self.url = f"unix://{folder}/redis.sock"
        self.outages: list[Outage] = []
        self._command = [find_binary((6, 2), "this is what the service needs"), "--port", "0", "--save", ""]
        self._command += ["--unixsocket", f"{folder}/redis.sock", "--dir", str(folder)]
        self._command += ["--appendonly", "yes", "--appendfsync", "always"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it has read its file and answers."""
        if self.outages:
            self.outages[-1].returns = time.monotonic()
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        with redis.Redis.from_url(self.url) as client:
            while not _answers(client):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{self._command} ended, or took longer than {START_SECONDS} seconds")
                time.sleep(0.02)
        if self.outages:
            self.outages[-1].ended = time.monotonic()

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self.outages.append(Outage(time.monotonic()))
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self.outages[-1].gone = time.monotonic()

    def stop(self) -> None:
        """End it; also one that was killed."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def explains(self, began: float, ended: float) -> bool:
        """Whether Redis was away at some moment of a request, or had just come back."""
        return any(outage.began <= ended and began <= outage.ended + RECOVERY_SECONDS for outage in self.outages)

    def was_away_throughout(self, began: float, ended: float) -> bool:
        """Whether there was no Redis from the start of a request to its end."""
        return any(outage.gone < began and ended < outage.returns for outage in self.outages)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:  # also while it loads
        return False


class Resources(NamedTuple):
    """What a process holds."""

    resident_mib: float
    threads: int
    descriptors: int


class Service(NamedTuple):
    """A running service."""

    url: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def resources(self) -> Resources:
        """What it holds now."""
        folder = Path(f"/proc/{self.process.pid}")
        lines = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        descriptors = len(list((folder / "fd").iterdir()))
        return Resources(round(int(lines["VmRSS"].split()[0]) / 1024, 1), int(lines["Threads"]), descriptors)

    def is_ready(self) -> bool:
        """Whether it answers requests."""
        try:
            with urllib.request.urlopen(f"{self.url}/health/ready", timeout=30) as answer:
                return int(answer.status) == 200
        except OSError:  # also a 503
            return False

    def leave(self) -> int:
        """SIGTERM, and the code that it ends with."""
        self.process.terminate()
        return self.process.wait(timeout=START_SECONDS)


@contextmanager
def own_redis(folder: Path) -> Iterator[DurableRedis]:
    """Start one, and end it with the block."""
    server = DurableRedis(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def running_service(folder: Path, redis_url: str, settings: Mapping[str, str]) -> Iterator[Service]:
    """Start `python -m service`, wait until it is ready, and see to it that it does not outlive the block.

    Args:
        folder: of its log.
        redis_url: of its Redis.
        settings: of the service, without their prefix.
    """
    named = {"REDIS_URL": redis_url, "NAMESPACE": NAMESPACE, "API_KEYS": API_KEY, "DRAIN_GRACE_SECONDS": "0"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MMGREC_")}
    environment |= {f"MMGREC_{name}": value for name, value in (named | dict(settings)).items()}
    log = folder / "service.log"  # a pipe that nobody reads would fill, and block the service
    with log.open("w") as said:
        command = [sys.executable, "-m", "service", "--port", "0"]
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + START_SECONDS
        url = ""
        while not (url and Service(url, process, log).is_ready()):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the service ended, or took longer than {START_SECONDS} s: {log.read_text()}")
            time.sleep(0.05)
            found = re.search(r"listens on (http://\S+)", log.read_text())
            url = found[1] if found else ""
        yield Service(url, process, log)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
