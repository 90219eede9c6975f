"""A tiny catalogue whose best answers are known by eye, a decoder that needs no model, and the service over real HTTP.

Items stand on a line: `item-00` .. `item-11` are rows 0 .. 11. The fake decoder likes what is near the last item of the
history: score = -distance. So the answer to [.., item-05] is item-05, then item-04 and item-06 (a tie), and so on.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import redis
import uvicorn
from fastapi import FastAPI

from service.app import create_app
from service.constraints import ItemFilter
from service.contract.item_table import ItemTable
from service.contract.manifest import DECODER_ARRAY, ITEM_VECTORS_ARRAY, Manifest, ModelSettings
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore
from service.contract.trie import Trie, build_trie
from service.decoder import Decoded
from service.edge.http_protocol import http_protocol
from service.settings import Settings
from tests.service.over_sockets import serving

NUM_ITEMS = 12
MODEL = ModelSettings(
    codebook_sizes=(3, 2),
    popularity_size=4,
    max_history=6,
    vector_dim=2,
    beam_widths=(10, 20),
    dense_weight=1.0,
    ordered_history=True,
)
WAIT_LIMIT_SECONDS = 15.0
LARGE_HEADERS = 2**20
"""Bytes; their limit has tests of its own."""


class FakeDecoder:
    """Scores every item by its distance from the last item of the history, and keeps every promise of a decoder."""

    provider = "FakeExecutionProvider"
    has_buckets = False
    run_cpu_seconds = 0.0

    def __init__(
        self,
        onnx: bytes,
        *,
        trie: Trie,
        item_vectors: npt.NDArray[np.float32],
        settings: ModelSettings,
        device: str = "auto",
        threads: int = 1,
        max_table_bytes: int = 0,
    ) -> None:
        self.trie = trie
        self.row_to_leaf = np.argsort(trie.leaf_to_row)
        self.threads_seen: set[str] = set()

    def prepare(self) -> None:
        self.threads_seen.add(threading.current_thread().name)

    def decode(self, histories: Sequence[Any], filters: Sequence[ItemFilter], *, beam_width: int) -> Decoded:
        self.threads_seen.add(threading.current_thread().name)
        leaves = np.full((len(histories), beam_width), -1, np.int64)
        score = np.full((len(histories), beam_width), -np.inf, np.float32)
        for at, (history, wanted) in enumerate(zip(histories, filters, strict=True)):
            last = history[-1] if len(history) else 0
            rows = [row for row in range(self.trie.num_items) if row not in set(wanted.excluded.tolist())]
            if wanted.candidates is not None:
                rows = [row for row in rows if row in set(wanted.candidates.tolist())]
            if wanted.allowed is not None:
                rows = [row for row in rows if wanted.allowed.leaves[self.row_to_leaf[row]]]
            rows = sorted(rows, key=lambda row: (abs(row - last), -row))[:beam_width]
            leaves[at, : len(rows)] = self.row_to_leaf[rows]
            score[at, : len(rows)] = [-abs(row - last) for row in rows]
        return Decoded(leaves, score * 2, score)

    def level_log_probs(self, history: Any, rows: Any, beam_width: int) -> Any:
        """Twice the score, like `log_prob`, in equal parts."""
        distance = np.abs(rows - history[-1]).astype(np.float32)
        return np.repeat(-2 * distance[:, None] / self.trie.num_levels, self.trie.num_levels, axis=1)


class Publish(Protocol):
    def __call__(self, version: str, *, num_items: int = ..., arrays: dict[str, Any] | None = ...) -> None: ...


def write_release(
    store: ReleaseStore, version: str, *, num_items: int = NUM_ITEMS, arrays: dict[str, Any] | None = None
) -> None:
    """Publish the tiny catalogue; `arrays` replaces some of its parts."""
    rows = np.arange(num_items)
    rec_ids = np.stack([rows % 3, rows // 3 % 2, rows // 6], axis=1).astype(np.int32)
    items = ItemTable(
        item_ids=tuple(f"item-{row:02d}" for row in rows),
        titles=tuple(f"Title {row}" if row else "" for row in rows),
        categories=tuple((f"category-{row % 2}",) for row in rows),
        train_counts=rows * 10,  # so the last one is the most popular
    )
    parts = {
        **build_trie(rec_ids, MODEL.space).arrays(),
        **items.arrays(),
        DECODER_ARRAY: np.frombuffer(b"no onnx", np.uint8),
        ITEM_VECTORS_ARRAY: np.zeros((num_items, 2), np.float32),
        **(arrays or {}),
    }
    manifest = Manifest(
        version=version,
        created="2026-11-21T00:00:00Z",
        parent=None,
        dataset="line",
        model=MODEL,
        arrays=store.write_arrays(parts),
        metrics={"recall@20": 0.5},
        gate={},
        blobs=store.blobs,
    )
    store.write_manifest(manifest)
    store.activate(version)


@pytest.fixture
def keys(namespace: str) -> RedisKeys:
    return RedisKeys(namespace)


@pytest.fixture
def client_of_redis(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def store(client_of_redis: redis.Redis, keys: RedisKeys) -> ReleaseStore:
    return ReleaseStore(client_of_redis, keys)


@pytest.fixture
def publish(store: ReleaseStore) -> Publish:
    def to_session_redis(version: str, *, num_items: int = NUM_ITEMS, arrays: dict[str, Any] | None = None) -> None:
        write_release(store, version, num_items=num_items, arrays=arrays)

    return to_session_redis


@pytest.fixture(scope="session")
def publish_to() -> Callable[..., None]:
    return write_release


@pytest.fixture
def settings(redis_url: str, namespace: str) -> Settings:
    return Settings(redis_url=redis_url, namespace=namespace, release_poll_seconds=0.05, deadline_seconds=20)


@pytest.fixture(scope="session")
def fake_decoder() -> type[FakeDecoder]:
    return FakeDecoder


@contextmanager
def _running(app: FastAPI) -> Iterator[httpx.Client]:
    http: Any = http_protocol(LARGE_HEADERS, app.state.shedding) if hasattr(app.state, "shedding") else "auto"
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on", http=http))
    with serving(server) as (host, port), httpx.Client(base_url=f"http://{host}:{port}", timeout=20) as client:
        yield client


@pytest.fixture(scope="session")
def running() -> Callable[[FastAPI], AbstractContextManager[httpx.Client]]:
    """Serve an app by uvicorn on a free port for the length of a `with` block."""
    return _running


def _wait_for(question: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT_LIMIT_SECONDS
    while not (answer := question()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
    return answer


@pytest.fixture(scope="session")
def wait_for() -> Callable[[Callable[[], Any]], Any]:
    """Ask again until the answer is true."""
    return _wait_for


@contextmanager
def _ready_service(redis_url: str, keys: RedisKeys) -> Iterator[httpx.Client]:
    with redis.Redis.from_url(redis_url) as client:
        write_release(ReleaseStore(client, keys), "v1")
    settings = Settings(
        redis_url=redis_url,
        namespace=keys.namespace,
        release_poll_seconds=0.05,
        deadline_seconds=20,
        redis_timeout_seconds=10,  # the machine of the tests may be busy
        redis_connect_timeout_seconds=10,
    )
    with _running(create_app(settings, decoder_factory=FakeDecoder)) as service:
        _wait_for(lambda: service.get("/health/ready").status_code == 200)
        yield service


@pytest.fixture(scope="module")
def service_keys() -> RedisKeys:
    return RedisKeys(f"test-{uuid.uuid4().hex[:12]}")


@pytest.fixture(scope="module")
def service(redis_url: str, service_keys: RedisKeys) -> Iterator[httpx.Client]:
    """The service with release `v1`, ready; shared by a module, so publish nothing into it."""
    with _ready_service(redis_url, service_keys) as client:
        yield client


@pytest.fixture
def own_service(redis_url: str, keys: RedisKeys) -> Iterator[httpx.Client]:
    """The same for one test alone, in its `namespace`."""
    with _ready_service(redis_url, keys) as client:
        yield client
