"""The two processes of the soak: a Redis that is killed and comes back with its data, and the service."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.running.redis_process import RedisProcess
from benchmarks.running.service_process import ServiceProcess, running_service, status_of

NAMESPACE = "soak"
API_KEY = "soak-key-of-a-sensible-length"
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


class DurableRedis(RedisProcess):
    """A Redis whose acknowledged writes survive SIGKILL.

    Attributes:
        outages: in their order.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "--appendonly", "yes", "--appendfsync", "always")
        self.outages: list[Outage] = []

    def start(self) -> None:
        """Start it and wait until it has read its file and answers."""
        if self.outages:
            self.outages[-1].returns = time.monotonic()
        super().start()
        if self.outages:
            self.outages[-1].ended = time.monotonic()

    def kill(self) -> None:
        """SIGKILL."""
        self.outages.append(Outage(time.monotonic()))
        super().kill()
        self.outages[-1].gone = time.monotonic()

    def explains(self, began: float, ended: float) -> bool:
        """Whether Redis was away at some moment of a request, or had just come back."""
        return any(outage.began <= ended and began <= outage.ended + RECOVERY_SECONDS for outage in self.outages)

    def was_away_throughout(self, began: float, ended: float) -> bool:
        """Whether there was no Redis from the start of a request to its end."""
        return any(outage.gone < began and ended < outage.returns for outage in self.outages)


class Resources(NamedTuple):
    """What a process holds."""

    resident_mib: float
    threads: int
    descriptors: int


def resources_of(service: ServiceProcess) -> Resources:
    """What a service holds now."""
    status = status_of(service.process.pid)
    descriptors = len(list(Path(f"/proc/{service.process.pid}/fd").iterdir()))
    return Resources(status["resident_mib"], int(status["threads"]), descriptors)


@contextmanager
def own_redis(folder: Path) -> Iterator[DurableRedis]:
    """Start one, and end it with the block."""
    server = DurableRedis(folder)
    with server.running():
        yield server


@contextmanager
def soaked_service(folder: Path, redis_url: str, settings: Mapping[str, str]) -> Iterator[ServiceProcess]:
    """The service that is soaked, ready to answer.

    Args:
        folder: of its log.
        redis_url: of its Redis.
        settings: of the service beside what the soak sets, without their prefix.
    """
    named = {"REDIS_URL": redis_url, "NAMESPACE": NAMESPACE, "API_KEYS": API_KEY, "DRAIN_GRACE_SECONDS": "0"}
    with running_service(folder, named | dict(settings)) as service:
        yield service
