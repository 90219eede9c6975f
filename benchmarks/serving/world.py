"""A service as it would run: a made-up catalogue as a release, users with histories, a Redis, a core of its own.

The service has the first core; Redis and the load have the others. On a machine with one core all share it, and the
report says so.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import redis

from benchmarks.decoding.catalogue import Catalogue
from benchmarks.decoding.subject import SETTINGS
from service.contract.item_table import ItemTable
from service.contract.manifest import DECODER_ARRAY, ITEM_VECTORS_ARRAY, Manifest
from service.contract.redis_keys import RedisKeys
from service.contract.redis_server import ensure_server, stop_server
from service.contract.release_store import ReleaseStore

HISTORY = 20
USERS = 1_000
NAMESPACE = "bench"
API_KEY = "benchmark-key-of-a-sensible-length"
READY_SECONDS = 120.0
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
SERVICE_CORE, OTHER_CORES = CORES[0], CORES[1:] or CORES


@dataclass(frozen=True, kw_only=True)
class Service:
    """A running one: where it listens, and which process it is."""

    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """What the process has used so far, all threads together."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mib(self) -> float:
        """Its memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def on_core(core: int | Sequence[int]) -> None:
    """Keep this process, or one that it is about to become, to cores; nothing where the system cannot."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core} if isinstance(core, int) else set(core))


@contextmanager
def running(decoder: bytes, catalogue: Catalogue, *, deadline_seconds: float) -> Iterator[Service]:
    """Publish, load histories, and serve until the end of the block."""
    with tempfile.TemporaryDirectory(prefix="mmgrec-bench-") as folder:
        home = Path(folder)
        on_core(OTHER_CORES)  # the Redis server inherits it
        url = ensure_server(home)
        try:
            with redis.Redis.from_url(url) as client:
                _publish(ReleaseStore(client, RedisKeys(NAMESPACE)), decoder, catalogue)
                _load_histories(client, catalogue.num_items)
            with _process(home, deadline_seconds) as service:
                yield service
        finally:
            stop_server(home)


@contextmanager
def _process(home: Path, deadline_seconds: float) -> Iterator[Service]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MMGREC_")}
    environment |= {
        "MMGREC_HOME": str(home),
        "MMGREC_NAMESPACE": NAMESPACE,
        "MMGREC_INFERENCE_THREADS": "1",
        "MMGREC_DEADLINE_SECONDS": str(deadline_seconds),
        "MMGREC_DRAIN_GRACE_SECONDS": "0",
        "MMGREC_API_KEYS": API_KEY,
    }
    said = home / "service.log"  # a pipe that nobody reads would fill, and block the service
    with said.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "service", "--port", "0"],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: on_core(SERVICE_CORE),
        )
    try:
        port = _port_of(process, said)
        _wait_until_ready(port)
        yield Service(port=port, pid=process.pid)
    finally:
        process.terminate()
        process.wait()


def _port_of(process: "subprocess.Popen[bytes]", said: Path) -> int:
    while (found := re.search(r"listens on http://\S+:(\d+)", said.read_text())) is None:
        if process.poll() is not None:
            raise RuntimeError(f"the service ended with {process.returncode}: {said.read_text()}")
        time.sleep(0.05)
    return int(found[1])


def _wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready") as answer:
                assert json.load(answer)["ready"]
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _publish(store: ReleaseStore, decoder: bytes, catalogue: Catalogue) -> None:
    rows = range(catalogue.num_items)
    items = ItemTable(
        item_ids=tuple(map(item_id, rows)),
        titles=tuple(f"Title of item {row}" for row in rows),
        categories=tuple((f"category-{row % 50}",) for row in rows),
        train_counts=np.arange(catalogue.num_items),
    )
    parts = {
        **catalogue.trie.arrays(),
        **items.arrays(),
        DECODER_ARRAY: np.frombuffer(decoder, np.uint8),
        ITEM_VECTORS_ARRAY: catalogue.item_vectors,
    }
    manifest = Manifest(
        version="bench",
        created="2026-01-01T00:00:00Z",
        parent=None,
        dataset="made up",
        model=SETTINGS,
        arrays=store.write_arrays(parts),
        metrics={},
        gate={},
    )
    store.write_manifest(manifest)
    store.activate("bench")


def _load_histories(client: redis.Redis, num_items: int) -> None:
    keys, rng = RedisKeys(NAMESPACE), np.random.default_rng(1)
    with client.pipeline(transaction=False) as pipeline:
        for user in range(USERS):
            items = [item_id(row) for row in rng.choice(num_items, HISTORY, replace=False).tolist()]
            pipeline.lpush(keys.history(user_id(user)), *items)
            pipeline.zadd(keys.seen(user_id(user)), {item: at for at, item in enumerate(items, 1)})
        pipeline.execute()


def item_id(row: int) -> str:
    """The id of an item row."""
    return f"item-{row}"


def user_id(user: int) -> str:
    """The id of a user."""
    return f"user-{user}"
