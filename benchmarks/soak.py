"""The service under load while its releases are swapped, its Redis is killed and callers hang up: issue 5.

    .venv/bin/python -m benchmarks.soak [--seconds 600] [--rate CALLS_PER_SECOND]

Starts a Redis of its own and `python -m service`, publishes two releases, and measures for some seconds what can be
answered while releases are swapped and every answer is judged, all on the same machine; then it sends 70 % of that, or
the rate given, and holds every answer against what was asked. Prints one JSON object; what is going on stands on
stderr. Ends with 1 when a bar is missed.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import redis
import uvloop

from benchmarks.running.service_process import ServiceProcess
from benchmarks.soaking import bars, catalogues, load, servers
from benchmarks.soaking.disturbances import Swaps, kill_now_and_then
from benchmarks.soaking.requests import Mix, stored_items
from benchmarks.soaking.tally import Tally
from service.contract.event_stream import StoredEvent
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore

NEEDED = ("httpx", "onnx", "torch", "uvloop")
INSTALL = "pip install -e '.[dev,offline]' -c constraints.txt"
LOAD_SHARE = 0.7
PARTITIONS = 4  # of the event streams, as the service has them
QUIET_SECONDS = 60.0
CALM_LOOKS = 3


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long, how much, and what happens meanwhile.

    Attributes:
        seconds: of the soak itself.
        rate: calls per second; None for a share of what is measured first.
        measure_seconds: how long that is measured.
        swap_seconds: from one swap to the next.
        kill_seconds: from one kill of Redis to the next.
        away_seconds: how long Redis then stays away.
        disconnect_share: of the recommendations whose callers hang up.
        seed: of everything drawn.
        settings: of the service, without their prefix.
    """

    seconds: float = 600.0
    rate: float | None = None
    measure_seconds: float = 20.0
    swap_seconds: float = 5.0
    kill_seconds: float = 30.0
    away_seconds: float = 3.0
    disconnect_share: float = 0.03
    seed: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=Plan.seconds, help="length of the soak")
    parser.add_argument("--rate", type=float, help="calls per second; default: 70 %% of what is measured first")
    parser.add_argument("--swap-seconds", type=float, default=Plan.swap_seconds, help="from one swap to the next")
    parser.add_argument("--kill-seconds", type=float, default=Plan.kill_seconds, help="from one kill to the next")
    parser.add_argument("--items", type=int, default=20_000, help="items of each release")
    parser.add_argument("--seed", type=int, default=Plan.seed, help="seed of catalogues and requests")
    arguments = vars(parser.parse_args())
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(json.dumps({"benchmark": "soak", "missing": missing, "install": INSTALL}))
        return 1
    progress("making two catalogues, and exporting the model unless it is cached")
    parts = catalogues.made_up_parts(arguments.pop("items"), arguments["seed"])
    report = measure(Plan(**arguments), parts)
    print(json.dumps(report))
    return 0 if report["verdict"]["all_met"] else 1


def progress(text: str) -> None:
    """Say what is going on."""
    print(text, file=sys.stderr, flush=True)


def measure(plan: Plan, parts: list[catalogues.Parts]) -> dict[str, Any]:
    """Start everything, soak, and judge.

    Args:
        plan: what is to happen.
        parts: of the two releases.
    """
    with tempfile.TemporaryDirectory(prefix="mm", dir="/tmp") as made, servers.own_redis(Path(made)) as server:
        with redis.Redis.from_url(server.url) as client:
            releases, seen = prepare(client, parts)
        with servers.soaked_service(Path(made), server.url, plan.settings) as service:
            report = uvloop.run(soak(plan, service, server, lambda: Tally(server, releases, seen)))
            report["exit_code"] = service.leave()
        report["log_errors"] = errors_in(service.log)
    machine = {"cores": os.cpu_count(), "load_average": os.getloadavg()}
    report = {"benchmark": "soak", "plan": asdict(plan), "items": parts[0].trie.num_items, "machine": machine, **report}
    return report | {"verdict": bars.judge(report)}


def prepare(
    client: redis.Redis, parts: list[catalogues.Parts]
) -> tuple[dict[str, frozenset[str]], dict[str, list[str]]]:
    """Publish both releases, activate the first, and store what users have seen; gives item ids, and that."""
    keys = RedisKeys(servers.NAMESPACE)
    store = ReleaseStore(client, keys)
    releases = {
        version: frozenset(catalogues.publish(store, version, each))
        for version, each in zip(catalogues.VERSIONS, parts, strict=True)
    }
    store.activate(catalogues.VERSIONS[0])
    seen = stored_items(sorted(frozenset.intersection(*releases.values())))
    with client.pipeline(transaction=False) as pipeline:
        for user, items in seen.items():
            pipeline.lpush(keys.history(user), *items)
            pipeline.zadd(keys.seen(user), {item: at for at, item in enumerate(items, 1)})
        pipeline.execute()
    return releases, seen


async def soak(
    plan: Plan, service: ServiceProcess, server: servers.DurableRedis, new_tally: Callable[[], Tally]
) -> dict[str, Any]:
    """Load and disturbances side by side; gives what came of it."""
    tally = new_tally()
    known = [*sorted(tally.item_ids), "item-of-no-release-0"]
    rate = plan.rate
    if rate is None:
        progress("measuring what the service can do")
        rate = LOAD_SHARE * await able(plan, service, server, Mix(known, plan.seed + 1, events=False), new_tally())
    before = await quiet(service)
    progress(f"{rate:.1f} calls per second for {plan.seconds:g} seconds")
    async with load.http(service) as client:
        callers = load.Load(client, Mix(known, plan.seed), tally, plan.disconnect_share)
        swaps = Swaps(service, client, server.url)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(callers.run(rate, plan.seconds))
            tasks.create_task(swaps.run(plan.swap_seconds, plan.seconds))
            tasks.create_task(kill_now_and_then(server, plan.kill_seconds, plan.away_seconds, plan.seconds))
    after = await quiet(service)
    report = {"calls_per_second": round(rate, 1), **tally.report(), "swaps": swaps.report()}
    report["events"]["lost"] = lost_events(server, tally)
    report["kills"] = len(server.outages)
    report["grown"] = {name: getattr(after, name) - getattr(before, name) for name in after._fields}
    return report | {"held_before": before._asdict(), "held_after": after._asdict()}


async def able(plan: Plan, service: ServiceProcess, server: servers.DurableRedis, mix: Mix, tally: Tally) -> float:
    """Calls per second that are answered while releases are swapped and nothing else goes wrong."""
    async with load.http(service) as client, asyncio.TaskGroup() as tasks:
        tasks.create_task(Swaps(service, client, server.url).run(plan.swap_seconds, plan.measure_seconds))
        answered = tasks.create_task(load.calls_per_second(client, mix, tally, plan.measure_seconds))
    return answered.result()


async def quiet(service: ServiceProcess) -> servers.Resources:
    """What the service holds once its callers have gone: descriptors have not become fewer for a while."""
    deadline = time.monotonic() + QUIET_SECONDS
    held, calm = servers.resources_of(service), 0
    while calm < CALM_LOOKS and time.monotonic() < deadline:
        await asyncio.sleep(1.0)
        previous, held = held, servers.resources_of(service)
        calm = calm + 1 if held.descriptors >= previous.descriptors else 0
    return held


def lost_events(server: servers.DurableRedis, tally: Tally) -> int:
    """Events that were accepted and are not in the streams, or not among what their user has seen."""
    keys = RedisKeys(servers.NAMESPACE)
    with redis.Redis.from_url(server.url) as client:
        stored = {
            StoredEvent.from_fields(fields).event_id
            for partition in range(PARTITIONS)
            for _, fields in client.xrange(keys.events(partition))
        }
        return sum(
            event_id not in stored or client.zscore(keys.seen(user), item) is None
            for event_id, (user, item) in tally.accepted.items()
        )


def errors_in(log: Path) -> int:
    """Lines of the service's log that tell of an error, and traces in it."""
    lines = log.read_text().splitlines()
    found = [line for line in lines if '"level":"error"' in line or '"trace":' in line or "Traceback" in line]
    for line in found[:3]:
        progress(line[:2000])
    return len(found)


if __name__ == "__main__":
    sys.exit(main())
