"""How long the service takes from its start to ready, and what it then holds in memory: issue 5, "Must show".

    .venv/bin/python -m benchmarks.start [--items 1000000] [--quick] [--seed 0]

Makes a catalogue (float32 vectors of 256 columns, ids, titles, two categories an item), publishes it into a Redis of
its own on a socket, starts `python -m service` there, and waits until it is ready. Then it loads the same release once
more in this process and times the parts. Prints one JSON object; what is going on stands on stderr. A million items
need 8 GB of memory, mostly for this process and Redis. --quick: 100,000 items.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import redis
from pydantic import SecretStr

from benchmarks.decoding.catalogue import Catalogue, make_catalogue
from benchmarks.decoding.graphs import PendingGraphs
from benchmarks.decoding.subject import SETTINGS
from benchmarks.running.made_up_release import release_arrays, write_release
from benchmarks.running.redis_process import own_redis
from benchmarks.running.service_process import cpu_seconds, running_service, status_of
from service.contract.item_table import ItemTable
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore
from service.contract.trie import Trie
from service.releases.release import load_release
from service.settings import Settings

READY_BAR_SECONDS = 10.0
NUM_CATEGORIES = 200
VERSION = "start"

Result = TypeVar("Result")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000, help="size of the catalogue")
    parser.add_argument("--quick", action="store_true", help="100,000 items")
    parser.add_argument("--seed", type=int, default=0, help="seed of catalogue and weights")
    arguments = parser.parse_args()
    num_items = 100_000 if arguments.quick else arguments.items
    load_before = os.getloadavg()
    with own_redis() as url:
        published = publish(url, num_items, arguments.seed)
        started = start_service(url)
        parts = time_parts(url)
    bar = {"limit": READY_BAR_SECONDS, "met": started["ready_seconds"] <= READY_BAR_SECONDS}
    machine = {"cores": os.cpu_count(), "load_average": {"before": load_before, "after": os.getloadavg()}}
    report = {"benchmark": "start", "items": num_items, **started, "bar": bar, "parts": parts}
    print(json.dumps(report | {"published": published, "machine": machine, "seed": arguments.seed}))
    return 0


def progress(text: str) -> None:
    """Say what is going on."""
    print(text, file=sys.stderr, flush=True)


def publish(url: str, num_items: int, seed: int) -> dict[str, Any]:
    """Write the release and activate it; gives its size and what writing took."""
    progress(f"making a catalogue of {num_items} items, and exporting the model unless it is cached")
    graphs = PendingGraphs(seed)
    catalogue = make_catalogue(num_items, seed)
    decoder = np.frombuffer(graphs.wait().decoder, np.uint8)
    arrays = release_arrays(decoder, catalogue.trie, catalogue.item_vectors, item_table(catalogue, seed))
    progress("publishing it")
    with redis.Redis.from_url(url) as client:
        store = ReleaseStore(client, RedisKeys())
        begun = time.perf_counter()
        write_release(store, VERSION, arrays, SETTINGS)
        seconds = time.perf_counter() - begun
        store.activate(VERSION)
    return {"bytes": sum(array.nbytes for array in arrays.values()), "seconds": round(seconds, 2)}


def item_table(catalogue: Catalogue, seed: int) -> ItemTable:
    """Ids, titles and two categories of every item."""
    rng, rows = np.random.default_rng(seed), range(catalogue.num_items)
    drawn = rng.integers(NUM_CATEGORIES, size=(catalogue.num_items, 2)).tolist()
    return ItemTable(
        item_ids=tuple(f"item-{row:08d}" for row in rows),
        titles=tuple(f"The title of item number {row}" for row in rows),
        categories=tuple(tuple(f"category-{number}" for number in numbers) for numbers in drawn),
        train_counts=rng.integers(1000, size=catalogue.num_items),
    )


def start_service(url: str) -> dict[str, Any]:
    """Start the service, wait until it is ready, and look at what it has used and holds."""
    progress("starting the service")
    with tempfile.TemporaryDirectory(prefix="mm") as folder, running_service(Path(folder), {"REDIS_URL": url}) as found:
        status = status_of(found.process.pid)
        return {
            "ready_seconds": round(found.ready_seconds, 2),
            "ready_cpu_seconds": cpu_seconds(found.process.pid),
            "listens_seconds": round(found.listens_seconds, 2),
            "memory": {name: round(status[name]) for name in ("resident_mib", "peak_mib") if name in status},
        }


def time_parts(url: str) -> dict[str, dict[str, float]]:
    """Load the release in this process as the service does it, and then the parts one by one."""
    progress("timing the parts")
    settings, parts = Settings(redis_url=SecretStr(url)), dict[str, dict[str, float]]()

    def timed(name: str, work: Callable[[], Result]) -> Result:
        begun, cpu = time.perf_counter(), time.process_time()
        result = work()
        parts[name] = {
            "seconds": round(time.perf_counter() - begun, 2),
            "cpu_seconds": round(time.process_time() - cpu, 2),
        }
        return result

    with redis.Redis.from_url(url) as client:
        store = ReleaseStore(client, RedisKeys())
        timed("load_release", lambda: load_release(store, VERSION, settings))
        manifest = store.read_manifest(VERSION)
        arrays = timed("read_and_verify", lambda: store.read_named(manifest, manifest.arrays))
        timed("trie", lambda: Trie.from_arrays(arrays, SETTINGS.space))
        items = timed("item_table", lambda: ItemTable.from_arrays(arrays))
        timed("popular_and_ids", lambda: (items.popular_rows(), items.row_of()))
    return parts


if __name__ == "__main__":
    sys.exit(main())
