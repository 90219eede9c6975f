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
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.error import URLError

import numpy as np
import numpy.typing as npt
import redis
from pydantic import SecretStr

from benchmarks.decoding.catalogue import Catalogue, make_catalogue
from benchmarks.decoding.graphs import PendingGraphs
from benchmarks.decoding.subject import SETTINGS
from service.contract.item_table import ItemTable
from service.contract.manifest import DECODER_ARRAY, ITEM_VECTORS_ARRAY, Manifest
from service.contract.redis_binary import find_binary
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore
from service.contract.trie import Trie
from service.releases.release import load_release
from service.settings import Settings

READY_BAR_SECONDS = 10.0
WAIT_LIMIT_SECONDS = 600.0
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


@contextmanager
def own_redis() -> Iterator[str]:
    """A Redis without persistence on a socket; gives its URL."""
    with tempfile.TemporaryDirectory(prefix="mm", dir="/tmp") as folder:
        command = [find_binary((6, 2), "this is what the service needs"), "--port", "0", "--save", ""]
        command += ["--unixsocket", f"{folder}/redis.sock", "--dir", folder]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            url = f"unix://{folder}/redis.sock"
            wait_for(lambda: Path(folder, "redis.sock").exists(), server)
            yield url
        finally:
            server.terminate()
            server.wait()


def publish(url: str, num_items: int, seed: int) -> dict[str, Any]:
    """Write the release and activate it; gives its size and what writing took."""
    progress(f"making a catalogue of {num_items} items, and exporting the model unless it is cached")
    graphs = PendingGraphs(seed)
    catalogue = make_catalogue(num_items, seed)
    arrays: dict[str, npt.NDArray[Any]] = {
        DECODER_ARRAY: np.frombuffer(graphs.wait().decoder, np.uint8),
        ITEM_VECTORS_ARRAY: catalogue.item_vectors,
        **catalogue.trie.arrays(),
        **item_table(catalogue, seed).arrays(),
    }
    progress("publishing it")
    with redis.Redis.from_url(url) as client:
        store = ReleaseStore(client, RedisKeys())
        begun = time.perf_counter()
        specs = store.write_arrays(arrays)
        seconds = time.perf_counter() - begun
        store.write_manifest(
            Manifest(
                version=VERSION,
                created="2026-11-21T00:00:00Z",
                parent=None,
                dataset="random",
                model=SETTINGS,
                arrays=specs,
                metrics={},
                gate={},
            )
        )
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
    """Start the service, wait until it is ready, and look at its memory."""
    progress("starting the service")
    command = [sys.executable, "-m", "service", "--port", "0"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MMGREC_")}
    environment["MMGREC_REDIS_URL"] = url
    begun = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:  # and no pipe: it would be full before long, and the service stand still
        service = subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.DEVNULL)
        return wait_until_ready(service, said, begun)


def wait_until_ready(service: "subprocess.Popen[Any]", said: IO[str], begun: float) -> dict[str, Any]:
    """Times and memory of a service that was started; stops it."""
    try:
        wait_for(lambda: b"\n" in os.pread(said.fileno(), 1000, 0), service)
        address = os.pread(said.fileno(), 1000, 0).decode().split(" on ")[1].split()[0]
        listens = time.perf_counter() - begun
        wait_for(lambda: is_ready(address), service)
        ready = time.perf_counter() - begun
        return {
            "ready_seconds": round(ready, 2),
            "ready_cpu_seconds": cpu_seconds(service.pid),
            "listens_seconds": round(listens, 2),
            "memory": memory_of(service.pid),
        }
    finally:
        service.terminate()
        service.wait()


def is_ready(address: str) -> bool:
    """Whether the service answers requests."""
    try:
        with urllib.request.urlopen(f"{address}/health/ready", timeout=10) as answer:
            return int(answer.status) == 200
    except URLError:  # also a 503
        return False


def wait_for(question: Callable[[], bool], process: "subprocess.Popen[Any]") -> None:
    """Ask again until the answer is yes."""
    deadline = time.monotonic() + WAIT_LIMIT_SECONDS
    while not question():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} ended, or took longer than {WAIT_LIMIT_SECONDS} seconds")
        time.sleep(0.05)


def cpu_seconds(pid: int) -> float | None:
    """Processor time of a process, which tells more than the clock on a busy machine; None where there is no /proc."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return None
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_of(pid: int) -> dict[str, int]:
    """Resident memory of a process in MiB, now and at most; empty where there is no /proc."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return {}
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return {
        name: int(lines[key].split()[0]) // 1024 for name, key in (("resident_mib", "VmRSS"), ("peak_mib", "VmHWM"))
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
