"""What disturbs the service meanwhile: another release every few seconds, and a Redis that is killed."""

import asyncio
import time
from typing import Any

import httpx
import redis

from benchmarks.running.service_process import ServiceProcess
from benchmarks.soaking.catalogues import VERSIONS
from benchmarks.soaking.servers import NAMESPACE, DurableRedis, resources_of
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore

SWAP_LIMIT_SECONDS = 120.0
"""A swap that takes longer is missed; Redis may be away and a machine slow, so it is far from what a swap takes."""
EARLY_SWAP, LATE_SWAP = 20, 100
"""What a process holds after these swaps is compared."""


class Swaps:
    """Activates the releases in turn, waits until each is served, and notes what the service then holds.

    Attributes:
        held: of every swap when it was served, how long that took, and what the service held before the next one.
        missed: swaps that were not seen in time.
    """

    def __init__(self, service: ServiceProcess, client: httpx.AsyncClient, redis_url: str) -> None:
        self.held: list[dict[str, Any]] = []
        self.missed = 0
        self._service = service
        self._client = client
        self._url = redis_url

    async def run(self, every_seconds: float, seconds: float) -> None:
        """Swap until the time is over."""
        end, number = time.monotonic() + seconds, 0
        while time.monotonic() + every_seconds <= end:
            began, number = time.monotonic(), number + 1
            served = await self._swap_to(VERSIONS[number % len(VERSIONS)])
            took = time.monotonic() - began
            await asyncio.sleep(max(0.0, every_seconds - took))
            if served:
                self.held.append({"swap": number, "seconds": round(took, 2), **resources_of(self._service)._asdict()})
            else:
                self.missed += 1

    async def _swap_to(self, version: str) -> bool:
        deadline = time.monotonic() + SWAP_LIMIT_SECONDS
        activated = False
        while time.monotonic() < deadline:
            if not activated:
                activated = await asyncio.to_thread(self._activate, version)
            if activated and (await self._client.get("/info")).json()["release"]["version"] == version:
                return True
            await asyncio.sleep(0.05)
        return False

    def _activate(self, version: str) -> bool:
        try:
            with redis.Redis.from_url(self._url) as client:
                ReleaseStore(client, RedisKeys(NAMESPACE)).activate(version)
        except redis.RedisError:  # it was killed just now
            return False
        return True

    def report(self) -> dict[str, Any]:
        """The swaps, and memory after a late one beside memory after an early one; None where there were fewer."""
        resident = {held["swap"]: held["resident_mib"] for held in self.held}
        after = {name: resident.get(number) for name, number in (("early", EARLY_SWAP), ("late", LATE_SWAP))}
        ratio = round(after["late"] / after["early"], 3) if after["early"] and after["late"] else None
        return {
            "done": len(self.held),
            "missed": self.missed,
            f"resident_mib_after_{EARLY_SWAP}": after["early"],
            f"resident_mib_after_{LATE_SWAP}": after["late"],
            "memory_ratio": ratio,
            "held": self.held,
        }


async def kill_now_and_then(server: DurableRedis, every_seconds: float, away_seconds: float, seconds: float) -> None:
    """Kill Redis and start it again, until the time is over; it is there when this returns."""
    end = time.monotonic() + seconds
    while time.monotonic() + every_seconds <= end:
        await asyncio.sleep(every_seconds - away_seconds)
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(away_seconds)
        await asyncio.to_thread(server.start)
