"""A service as it would run: a made-up catalogue as a release, users with histories, a Redis, a core of its own."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import redis

from benchmarks.decoding.catalogue import Catalogue
from benchmarks.decoding.subject import SETTINGS
from benchmarks.running.made_up_release import release_arrays, write_release
from benchmarks.running.service_process import ServiceProcess, running_service
from benchmarks.serving.agreed import API_KEY, HISTORY, OTHER_CORES, SERVICE_CORE, USERS, item_id, on_core, user_id
from service.contract.item_table import ItemTable
from service.contract.redis_keys import RedisKeys
from service.contract.redis_server import ensure_server, stop_server
from service.contract.release_store import ReleaseStore

NAMESPACE = "bench"


@contextmanager
def running(decoder: bytes, catalogue: Catalogue, *, deadline_seconds: float) -> Iterator[ServiceProcess]:
    """Publish, load histories, and serve until the end of the block."""
    with tempfile.TemporaryDirectory(prefix="mmgrec-bench-") as folder:
        home = Path(folder)
        on_core(OTHER_CORES)  # the Redis server inherits it
        url = ensure_server(home)
        try:
            with redis.Redis.from_url(url) as client:
                _publish(ReleaseStore(client, RedisKeys(NAMESPACE)), decoder, catalogue)
                _load_histories(client, catalogue.num_items)
            settings = {
                "HOME": str(home),
                "NAMESPACE": NAMESPACE,
                "INFERENCE_THREADS": "1",
                "DEADLINE_SECONDS": str(deadline_seconds),
                "DRAIN_GRACE_SECONDS": "0",
                "API_KEYS": API_KEY,
            }
            with running_service(home, settings, first=lambda: on_core(SERVICE_CORE)) as service:
                yield service
        finally:
            stop_server(home)


def _publish(store: ReleaseStore, decoder: bytes, catalogue: Catalogue) -> None:
    rows = range(catalogue.num_items)
    items = ItemTable(
        item_ids=tuple(map(item_id, rows)),
        titles=tuple(f"Title of item {row}" for row in rows),
        categories=tuple((f"category-{row % 50}",) for row in rows),
        train_counts=np.arange(catalogue.num_items),
    )
    arrays = release_arrays(np.frombuffer(decoder, np.uint8), catalogue.trie, catalogue.item_vectors, items)
    write_release(store, "bench", arrays, SETTINGS)
    store.activate("bench")


def _load_histories(client: redis.Redis, num_items: int) -> None:
    keys, rng = RedisKeys(NAMESPACE), np.random.default_rng(1)
    with client.pipeline(transaction=False) as pipeline:
        for user in range(USERS):
            items = [item_id(row) for row in rng.choice(num_items, HISTORY, replace=False).tolist()]
            pipeline.lpush(keys.history(user_id(user)), *items)
            pipeline.zadd(keys.seen(user_id(user)), {item: at for at, item in enumerate(items, 1)})
        pipeline.execute()
