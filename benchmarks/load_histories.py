"""Users a second that `python -m offline load-histories` writes: issue 5, at least 50,000.

    .venv/bin/python -m benchmarks.load_histories [--users 100000] [--history 20] [--seed 0]

Prints one JSON object. Histories are made up, with times; Redis is one of the benchmark's own. Each load is measured
into an empty Redis and once more onto itself, without an append-only file and with one (`appendfsync everysec`), beside
how many commands a second that Redis answers at that moment. With the file Redis itself is the limit.
"""

import argparse
import json
import os
import sys
import time
from typing import Any

import numpy as np
import redis

from benchmarks.running.redis_process import own_redis
from offline.load_histories import load_histories
from offline.user_histories import UserHistories
from service.contract.redis_keys import RedisKeys

NUM_ITEMS = 100_000
FIRST_MS, LAST_MS = 1_700_000_000_000, 1_763_000_000_000
PROBES = 20_000


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="as always; there is no other output")
    parser.add_argument("--users", type=int, default=100_000, help="users (default 100000)")
    parser.add_argument("--history", type=int, default=20, help="items of each (default 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the histories")
    arguments = parser.parse_args()
    histories = made_up(arguments.users, arguments.history, arguments.seed)
    report: dict[str, Any] = {"benchmark": "load_histories", "users": arguments.users, "history": arguments.history}
    with own_redis() as url, redis.Redis.from_url(url) as client:
        report["load_average"] = os.getloadavg()[0]
        for name, setting in (("without_file", "no"), ("append_only_file", "yes")):
            report[name] = measure(client, histories, setting)
    print(json.dumps(report))
    return 0


def made_up(num_users: int, length: int, seed: int) -> UserHistories:
    """Users with so many items each, at times of two years."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.integers(FIRST_MS, LAST_MS, size=(num_users, length)), axis=1)
    return UserHistories(
        tuple(f"user-{user}" for user in range(num_users)),
        tuple(f"item-{item}" for item in range(NUM_ITEMS)),
        np.arange(0, num_users * length + 1, length),
        rng.integers(NUM_ITEMS, size=num_users * length),
        times.ravel(),
    )


def measure(client: redis.Redis, histories: UserHistories, append_only: str) -> dict[str, Any]:
    """One setting of Redis."""
    client.config_set("appendonly", append_only)
    while client.info("persistence")["aof_rewrite_in_progress"]:
        time.sleep(0.1)
    client.flushall()
    pings = pings_per_second(client)
    first, again = (load_histories(histories, client, RedisKeys("bench")) for _ in range(2))
    return {
        "users_per_second": first.users_per_second,
        "users_per_second_again": again.users_per_second,
        "bytes_per_user": first.bytes_per_user,
        "pings_per_second": pings,
    }


def pings_per_second(client: redis.Redis) -> int:
    """How fast the machine is at the moment: small commands in one pipeline."""
    pipeline = client.pipeline(transaction=False)
    for _ in range(PROBES):
        pipeline.ping()
    started = time.perf_counter()
    pipeline.execute()
    return round(PROBES / (time.perf_counter() - started))


if __name__ == "__main__":
    sys.exit(main())
