"""Releases on a real Redis: whole before they are seen, immutable, verified by byte, rolled back by the pointer."""

import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import redis

from service.contract import blobs
from service.contract.blobs import ArraySpec, CorruptBlobError
from service.contract.manifest import Manifest
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseMissingError, ReleaseStore
from tests.service.conftest import MODEL

ARRAYS = {
    "trie.tokens.0": np.arange(5, dtype=np.int32),
    "trie.tokens.1": np.zeros(0, np.int32),
    "item_vectors": np.array([[0.5, np.nan], [1, 2]], np.float32),
}


@pytest.fixture
def eight_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of two int32 each."""
    monkeypatch.setattr(blobs, "CHUNK_BYTES", 8)


def manifest(version: str, arrays: dict[str, ArraySpec], parent: str | None = None) -> Manifest:
    return Manifest(
        version=version,
        created="2026-11-21T00:00:00Z",
        parent=parent,
        dataset="shop",
        model=MODEL,
        arrays=arrays,
        metrics={"recall@20": 0.5},
        gate={"passed": True},
    )


@pytest.fixture
def write(store: ReleaseStore) -> Callable[..., Manifest]:
    def write_one(version: str, parent: str | None = None) -> Manifest:
        written = manifest(version, store.write_arrays(ARRAYS), parent)
        store.write_manifest(written)
        return written

    return write_one


def blob_keys(client: redis.Redis, keys: RedisKeys) -> set[str]:
    return {key.decode() for key in client.scan_iter(match=f"{keys.namespace}:blob:*")}


@pytest.mark.usefixtures("eight_bytes")
def test_what_is_written_is_read(store: ReleaseStore, write: Callable[..., Manifest]) -> None:
    written = write("v1")
    assert store.read_manifest("v1") == written
    for name, array in ARRAYS.items():
        found = store.read_array(written, name)
        assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert store.read_arrays(written, "trie.").keys() == {"trie.tokens.0", "trie.tokens.1"}
    assert store.read_arrays(written, "nothing.") == {}


@pytest.mark.usefixtures("eight_bytes")
def test_blobs_lie_under_the_hash_of_their_own_bytes(
    store: ReleaseStore, client_of_redis: redis.Redis, keys: RedisKeys
) -> None:
    store.write_arrays({"a": np.arange(5, dtype=np.int32)})
    pieces = [np.array(part, np.int32).tobytes() for part in ([0, 1], [2, 3], [4])]
    expected = {keys.blob(hashlib.sha256(piece).hexdigest(), at): piece for at, piece in enumerate(pieces)}
    assert {key: client_of_redis.get(key) for key in blob_keys(client_of_redis, keys)} == expected


def test_nothing_published(store: ReleaseStore, namespace: str) -> None:
    assert store.active_version() is None
    assert store.versions() == []
    with pytest.raises(ReleaseMissingError, match=rf"release v1 is not in namespace {namespace}.*offline releases"):
        store.read_manifest("v1")
    with pytest.raises(ReleaseMissingError, match=rf"{namespace} has no earlier release .*active: None"):
        store.parent_of_active()


def test_a_written_release_is_served_only_once_activated(
    store: ReleaseStore, write: Callable[..., Manifest], client_of_redis: redis.Redis, keys: RedisKeys
) -> None:
    write("v1")
    assert store.active_version() is None
    store.activate("v1")
    assert store.active_version() == "v1"
    assert client_of_redis.hgetall(keys.active) == {b"main": b'{"version": "v1", "share": 1.0}'}


def test_services_are_told(
    store: ReleaseStore, write: Callable[..., Manifest], client_of_redis: redis.Redis, keys: RedisKeys
) -> None:
    write("v1")
    with client_of_redis.pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe(keys.releases)
        store.activate("v1")
        deadline, message = time.monotonic() + 5, None
        while message is None and time.monotonic() < deadline:
            message = channel.get_message(timeout=0.1)
    assert message is not None
    assert message["data"] == b"v1"


def test_versions_are_sorted_and_of_this_namespace(
    store: ReleaseStore, write: Callable[..., Manifest], client_of_redis: redis.Redis, keys: RedisKeys
) -> None:
    for version in ("20260301", "20260101", "20260201"):
        write(version)
    neighbour = ReleaseStore(client_of_redis, RedisKeys(f"{keys.namespace}-b"))
    neighbour.write_manifest(manifest("other", {}))
    assert store.versions() == ["20260101", "20260201", "20260301"]
    assert neighbour.versions() == ["other"]


def test_a_version_is_never_overwritten(store: ReleaseStore, write: Callable[..., Manifest]) -> None:
    written = write("v1")
    with pytest.raises(ValueError, match="release v1 exists already; a release is immutable, publish a new version"):
        store.write_manifest(manifest("v1", {}, parent="v0"))
    assert store.read_manifest("v1") == written


def test_an_unknown_version_leaves_the_pointer(store: ReleaseStore, write: Callable[..., Manifest]) -> None:
    write("v1")
    store.activate("v1")
    with pytest.raises(ReleaseMissingError, match="release v9 is not in namespace"):
        store.activate("v9")
    assert store.active_version() == "v1"


def test_an_unreadable_manifest_leaves_the_pointer(
    store: ReleaseStore, write: Callable[..., Manifest], client_of_redis: redis.Redis, keys: RedisKeys
) -> None:
    write("v1")
    store.activate("v1")
    client_of_redis.set(keys.release("v2"), json.dumps({"format_version": 99}))
    with pytest.raises(ValueError, match="format_version 99"):
        store.activate("v2")
    assert store.active_version() == "v1"


def test_an_array_that_the_release_has_not_is_named(store: ReleaseStore, write: Callable[..., Manifest]) -> None:
    with pytest.raises(ValueError, match="release v1 has no array nothing; publish the run again"):
        store.read_array(write("v1"), "nothing")


@pytest.mark.usefixtures("eight_bytes")
def test_unchanged_chunks_are_shared(store: ReleaseStore, client_of_redis: redis.Redis, keys: RedisKeys) -> None:
    before = store.write_arrays({"a": np.arange(5, dtype=np.int32)})["a"]
    first = blob_keys(client_of_redis, keys)
    after = store.write_arrays({"a": np.arange(7, dtype=np.int32)})["a"]
    assert before.chunks[:2] == after.chunks[:2]
    assert len(first) == 3
    assert len(blob_keys(client_of_redis, keys) - first) == 2  # the third chunk grew, the fourth is new
    assert store.read_array(manifest("v1", {"a": before}), "a").tolist() == [0, 1, 2, 3, 4]
    assert store.read_array(manifest("v2", {"a": after}), "a").tolist() == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.usefixtures("eight_bytes")
def test_chunks_of_a_release_that_was_just_read_are_not_read_again(
    store: ReleaseStore, client_of_redis: redis.Redis, keys: RedisKeys
) -> None:
    """Seen by taking them away meanwhile: only a chunk that is new is written."""
    base = manifest("v1", store.write_arrays({"tokens": np.arange(4, dtype=np.int32)}))
    first, second = (keys.blob(*address) for address in base.arrays["tokens"].addresses)
    client_of_redis.delete(first, second)
    longer = {"tokens": np.arange(5, dtype=np.int32)}
    specs = store.write_arrays(longer, verified_in=base)
    assert specs["tokens"].chunks[:2] == base.arrays["tokens"].chunks
    third = keys.blob(*list(specs["tokens"].addresses)[2])
    assert blob_keys(client_of_redis, keys) == {third}
    store.write_arrays(longer)
    assert blob_keys(client_of_redis, keys) == {first, second, third}


@pytest.mark.usefixtures("eight_bytes")
def test_a_missing_chunk_is_named(
    store: ReleaseStore, write: Callable[..., Manifest], client_of_redis: redis.Redis, keys: RedisKeys
) -> None:
    written = write("v1")
    client_of_redis.delete(keys.blob(written.arrays["trie.tokens.0"].chunks[1], 1))
    with pytest.raises(CorruptBlobError, match=r"array trie.tokens.0: chunk 1 .* is missing; publish"):
        store.read_arrays(written, "trie.")


@pytest.mark.usefixtures("eight_bytes")
def test_a_corrupt_chunk_is_named(
    store: ReleaseStore, write: Callable[..., Manifest], client_of_redis: redis.Redis, keys: RedisKeys
) -> None:
    written = write("v1")
    client_of_redis.setrange(keys.blob(written.arrays["trie.tokens.0"].chunks[0], 0), 3, b"\xff")
    with pytest.raises(CorruptBlobError, match=r"array trie.tokens.0: chunk 0 has sha256 .*, expected .*"):
        store.read_array(written, "trie.tokens.0")


@pytest.mark.usefixtures("eight_bytes")
def test_publishing_again_cures_a_damaged_release(
    store: ReleaseStore, write: Callable[..., Manifest], client_of_redis: redis.Redis, keys: RedisKeys
) -> None:
    """What the messages of both faults advise; only the faulty chunks are written again."""
    written = write("v1")
    chunks = written.arrays["trie.tokens.0"].chunks
    client_of_redis.delete(keys.blob(chunks[1], 1))
    client_of_redis.set(keys.blob(chunks[0], 0), b"rubbish!")
    sent = Recorder(client_of_redis, forgets=False)
    assert ReleaseStore(sent, keys).write_arrays(ARRAYS) == written.arrays
    assert sorted(sent.names) == sorted([keys.blob(chunks[0], 0), keys.blob(chunks[1], 1)])
    assert store.read_array(written, "trie.tokens.0").tolist() == [0, 1, 2, 3, 4]


class Recorder:
    """A Redis that notes what is written, and may lose a byte of every blob right after it acknowledged it."""

    def __init__(self, client: redis.Redis, *, forgets: bool) -> None:
        self._client = client
        self._forgets = forgets
        self.names: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def set(self, name: str, value: Any, *, nx: bool = False) -> Any:
        self.names.append(name)
        return self._client.set(name, bytes(value)[:-1] if self._forgets else value, nx=nx)


def test_what_cannot_be_read_back_is_not_published(client_of_redis: redis.Redis, keys: RedisKeys) -> None:
    store = ReleaseStore(Recorder(client_of_redis, forgets=True), keys)
    with pytest.raises(CorruptBlobError, match=r"array .*: chunk \d has sha256"):
        store.write_arrays(ARRAYS)
    assert store.versions() == []


def test_a_manifest_under_another_version_is_refused(
    store: ReleaseStore, write: Callable[..., Manifest], client_of_redis: redis.Redis, keys: RedisKeys
) -> None:
    """Else an old signed manifest could be passed off as a new version."""
    write("v1")
    client_of_redis.copy(keys.release("v1"), keys.release("v2"))
    with pytest.raises(ValueError, match="under v2 lies the manifest of v1; publish the run again"):
        store.read_manifest("v2")


@pytest.mark.usefixtures("eight_bytes")
def test_verifying_reads_every_byte(
    store: ReleaseStore, write: Callable[..., Manifest], client_of_redis: redis.Redis, keys: RedisKeys
) -> None:
    written = write("v1")
    store.verify("v1")
    for name, spec in written.arrays.items():
        for address in spec.addresses:
            key = keys.blob(*address)
            piece = client_of_redis.get(key)
            client_of_redis.delete(key)
            with pytest.raises(CorruptBlobError, match=f"array {name}: chunk {address.chunk} .* is missing"):
                store.verify("v1")
            client_of_redis.set(key, piece)
    store.verify("v1")
    with pytest.raises(ReleaseMissingError):
        store.verify("v9")
