"""One suite for every place where blobs may lie, and what is particular to each."""

import hashlib
import importlib
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import redis

from service.contract import blobs as chunks
from service.contract.blob_folder import BlobsUnreachableError, StoredBlob
from service.contract.blob_location import normal_location
from service.contract.blob_store import BlobStore, NoRoomError, open_blobs
from service.contract.blobs import ChunkAddress, CorruptBlobError
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore

ROOT = Path(__file__).parents[3]


def blob(content: bytes, chunk: int = 0) -> tuple[ChunkAddress, memoryview]:
    return ChunkAddress(hashlib.sha256(content).hexdigest(), chunk), memoryview(content)


@pytest.fixture(params=["redis", "folder", "memory"])
def blobs(
    request: pytest.FixtureRequest, client_of_redis: redis.Redis, keys: RedisKeys, tmp_path: Path
) -> Iterator[BlobStore]:
    locations = {
        "redis": "redis",
        "folder": str(tmp_path / "not-there-yet" / "blobs"),
        "memory": f"memory://{keys.namespace}",
    }
    if request.param == "memory":
        pytest.importorskip("fsspec")
    store = open_blobs(normal_location(locations[request.param]), client_of_redis, keys)
    store.prepare({})
    yield store
    if request.param == "memory":
        importlib.import_module("fsspec").filesystem("memory").rm(f"/{keys.namespace}", recursive=True)


def test_what_is_written_is_read(blobs: BlobStore) -> None:
    address, piece = blob(b"\x00\xff" * 1000)
    (absent, _), (empty, nothing) = blob(b"absent"), blob(b"")
    blobs.prepare({address: len(piece)})
    blobs.write(address, piece)
    blobs.write(address, piece)
    blobs.write(empty, nothing)
    assert (blobs.read(address), blobs.read(empty), blobs.read(absent)) == (bytes(piece), b"", None)


def test_the_last_bytes_count(blobs: BlobStore) -> None:
    """Publishing again mends what was damaged."""
    address, piece = blob(b"what it should be")
    blobs.write(address, memoryview(b"what a broken disk made of it"))
    blobs.write(address, piece)
    assert blobs.read(address) == bytes(piece)


def test_what_is_stored_is_listed_and_can_be_removed(blobs: BlobStore) -> None:
    assert list(blobs.stored()) == []
    contents = [b"", b"one", b"three"]
    for content in contents:
        blobs.write(*blob(content))
    stored = {found.sha256: found for found in blobs.stored()}
    assert {found.num_bytes for found in stored.values()} == {0, 3, 5}
    assert all(found.age_seconds >= -60 for found in stored.values())
    (one, _), (three, _) = blob(b"one"), blob(b"three")
    for _ in range(2):  # who removes it second finds it gone, which is what was wanted
        blobs.remove(stored[one.sha256])
    assert (blobs.read(one), blobs.read(three)) == (None, b"three")
    assert stored.keys() - {found.sha256 for found in blobs.stored()} == {one.sha256}


def test_namespaces_do_not_see_each_other(
    blobs: BlobStore, client_of_redis: redis.Redis, keys: RedisKeys, tmp_path: Path
) -> None:
    address, piece = blob(b"of one catalogue")
    blobs.write(address, piece)
    for location in ("redis", normal_location(f"{tmp_path}/not-there-yet/blobs")):
        neighbour = open_blobs(location, client_of_redis, RedisKeys(keys.namespace + "-b"))
        neighbour.prepare({})
        assert neighbour.read(address) is None
        assert list(neighbour.stored()) == []


@pytest.fixture
def folder(tmp_path: Path, client_of_redis: redis.Redis, keys: RedisKeys) -> BlobStore:
    return open_blobs(normal_location(str(tmp_path)), client_of_redis, keys)


def test_a_file_is_named_by_what_it_holds_and_others_may_read_it(
    folder: BlobStore, tmp_path: Path, namespace: str
) -> None:
    address, piece = blob(b"content")
    before = os.umask(0o022)
    try:
        folder.prepare({})
        folder.write(address, piece)
    finally:
        os.umask(before)
    (file,) = (tmp_path / f"{namespace}-blobs").iterdir()  # and nothing half-written beside it
    assert (file.name, file.read_bytes()) == (address.sha256, b"content")
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


@pytest.mark.parametrize("sha256", ["../../secret", "/etc/passwd", "..", ""])
def test_no_address_leaves_the_folder(folder: BlobStore, tmp_path: Path, sha256: str) -> None:
    (tmp_path.parent / "secret").write_bytes(b"secret")
    with pytest.raises(CorruptBlobError, match="is no sha256"):
        folder.read(ChunkAddress(sha256, 0))
    with pytest.raises(CorruptBlobError, match="is no sha256"):
        folder.write(ChunkAddress(sha256, 0), memoryview(b"x"))


def test_no_namespace_leaves_the_folder(tmp_path: Path, client_of_redis: redis.Redis) -> None:
    for namespace in (".", ".."):
        store = open_blobs(normal_location(str(tmp_path / "inside")), client_of_redis, RedisKeys(namespace))
        store.prepare({})
        store.write(*blob(b"content"))
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]


def test_a_write_that_fails_leaves_nothing(
    folder: BlobStore, tmp_path: Path, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    folder.prepare({})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        BlobsUnreachableError, match=rf"blobs in {tmp_path} cannot be used \(No space left.*MMGREC_BLOBS"
    ):
        folder.write(*blob(b"content"))
    assert list((tmp_path / f"{namespace}-blobs").iterdir()) == []


def test_a_folder_that_is_not_mounted_is_not_a_missing_chunk(client_of_redis: redis.Redis, keys: RedisKeys) -> None:
    away = open_blobs("file:///nowhere/at/all", client_of_redis, keys)
    with pytest.raises(BlobsUnreachableError, match=r"the blobs in /nowhere/at/all cannot be used .*is it mounted"):
        away.read(blob(b"content")[0])
    with pytest.raises(BlobsUnreachableError, match="is it mounted"):
        list(away.stored())


def test_a_store_that_fails_does_not_tell_its_secrets(
    client_of_redis: redis.Redis, keys: RedisKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec = pytest.importorskip("fsspec")

    def denied(*_: object, **__: object) -> None:
        raise RuntimeError("403 for https://host/?signature=hunter2")

    store = open_blobs("memory://bucket", client_of_redis, keys)
    for name in ("cat_file", "pipe_file", "find", "rm_file"):
        monkeypatch.setattr(fsspec.filesystem("memory"), name, denied, raising=False)
        monkeypatch.setattr(type(fsspec.filesystem("memory")), name, denied)
    found = StoredBlob("x", "", 1, 0.0)
    for call in (
        lambda: store.read(blob(b"x")[0]),
        lambda: store.write(*blob(b"x")),
        lambda: list(store.stored()),
        lambda: store.remove(found),
    ):
        with pytest.raises(BlobsUnreachableError, match=r"memory://bucket cannot be used \(RuntimeError\)") as caught:
            call()
        assert "hunter2" not in str(caught.value)


def test_an_unknown_kind_of_url_names_the_cure(client_of_redis: redis.Redis, keys: RedisKeys) -> None:
    with pytest.raises(BlobsUnreachableError, match=r"pip install 'mmgrec\[blobs\]'"):
        open_blobs("gopher://bucket/x", client_of_redis, keys)


def test_folders_need_no_fsspec() -> None:
    """A plain local folder works in the base install; a URL says what to install."""
    program = """
import sys
sys.modules["fsspec"] = sys.modules["fsspec.core"] = None
import hashlib, tempfile
from service.contract.blob_store import open_blobs
from service.contract.blobs import ChunkAddress
from service.contract.redis_keys import RedisKeys
with tempfile.TemporaryDirectory() as folder:
    store = open_blobs("file://" + folder, None, RedisKeys())
    address = ChunkAddress(hashlib.sha256(b"x").hexdigest(), 0)
    store.prepare({})
    store.write(address, memoryview(b"x"))
    print(store.read(address))
try:
    open_blobs("s3://bucket", None, RedisKeys())
except RuntimeError as error:
    print(error)
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.startswith("b'x'\n"), done.stderr
    assert "pip install 'mmgrec[blobs]'" in done.stdout


class Limited:
    """A Redis of the test's own with a limit of memory."""

    def __init__(self, client: redis.Redis, keys: RedisKeys) -> None:
        self.client = client
        self.store = ReleaseStore(client, keys)

    def allow(self, more: int, policy: str = "noeviction") -> None:
        self.client.config_set("maxmemory-policy", policy)
        self.client.config_set("maxmemory", int(self.client.info("memory")["used_memory"]) + more)


@pytest.fixture
def limited(own_redis, keys: RedisKeys) -> Iterator[Limited]:
    own_redis.start()
    with redis.Redis.from_url(own_redis.url) as client:
        yield Limited(client, keys)


def test_a_release_that_does_not_fit_is_refused_before_anything_is_written(limited: Limited, keys: RedisKeys) -> None:
    limited.allow(2_000_000)
    figures = r"needs 120\d{5} bytes more in Redis, where \d+ of maxmemory \d+ are used: raise maxmemory .*nothing was"
    with pytest.raises(NoRoomError, match=figures):
        limited.store.write_arrays({"a": np.arange(500_000), "b": np.arange(10)})
    assert limited.client.keys("*") == []
    limited.allow(20_000_000)
    limited.store.write_arrays({"a": np.arange(500_000)})


def test_what_is_there_already_needs_no_room(limited: Limited, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 2**20)
    array = np.arange(500_000)
    limited.store.write_arrays({"a": array})
    limited.allow(7_000_000)  # one chunk, and four in flight, which Redis holds while they are read back
    limited.store.write_arrays({"a": array})
    limited.store.write_arrays({"a": array, "b": np.append(array[:400_000], 1)})  # shares three chunks
    with pytest.raises(NoRoomError):
        limited.store.write_arrays({"c": array + 1})


@pytest.mark.parametrize(
    ("policy", "warned"),
    [("allkeys-lru", True), ("allkeys-random", True), ("volatile-lru", False), ("noeviction", False)],
)
def test_a_policy_that_may_drop_releases_is_warned_of(
    limited: Limited, caplog: pytest.LogCaptureFixture, policy: str, warned: bool
) -> None:
    limited.allow(50_000_000, policy)
    limited.store.write_arrays({"a": np.arange(10)})
    assert (f"maxmemory-policy {policy} and may drop parts of a release" in caplog.text) is warned


def test_without_a_limit_nothing_is_dropped(limited: Limited, caplog: pytest.LogCaptureFixture) -> None:
    limited.client.config_set("maxmemory-policy", "allkeys-lru")
    limited.store.write_arrays({"a": np.arange(10)})
    assert caplog.text == ""
