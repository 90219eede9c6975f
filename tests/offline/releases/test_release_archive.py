"""A release file: any tar can read it, the same release gives the same bytes, and no other byte is taken for one."""

import gzip
import hashlib
import io
import json
import resource
import shutil
import tarfile
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from offline import release_archive
from offline.errors import BadInputError, JobError
from offline.moving_releases import Keys, receive_release, save_release
from offline.release_archive import ReleaseArchive
from service.contract import blobs
from service.contract.blobs import ArraySpec, CorruptBlobError
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore
from tests.offline.releases.tiny_releases import CHUNK_BYTES, write_tiny

NO_KEYS = Keys(None)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "CHUNK_BYTES", CHUNK_BYTES)


@pytest.fixture
def store(client: redis.Redis, namespace: str) -> ReleaseStore:
    return ReleaseStore(client, RedisKeys(namespace))


@pytest.fixture
def target(client: redis.Redis, namespace: str) -> ReleaseStore:
    """An empty one."""
    return ReleaseStore(client, RedisKeys(f"{namespace}-target"))


@pytest.fixture
def saved(store: ReleaseStore, tmp_path: Path) -> Path:
    write_tiny(store, "v1")
    save_release(store, "v1", tmp_path / "v1.tar")
    return tmp_path / "v1.tar"


def load(path: Path, target: ReleaseStore) -> None:
    with path.open("rb") as file:
        archive = ReleaseArchive(path, file)
        archive.verify()
        receive_release(archive.raw, archive.read, target, NO_KEYS)


def refused(path: Path, target: ReleaseStore) -> str:
    with pytest.raises(BadInputError) as caught:
        load(path, target)
    assert target.versions() == []  # nothing that a service could serve
    return str(caught.value)


def test_any_tar_can_read_it_and_the_sums_are_right(saved: Path, store: ReleaseStore) -> None:
    with tarfile.open(saved) as archive:
        content = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
        assert {(member.mode, member.uid, member.gid, member.mtime) for member in archive} == {(0o644, 0, 0, 0)}
    assert content["manifest.json"] == store.manifest_bytes("v1")
    own, shared = np.zeros(1024, np.int32).tobytes(), np.arange(3000, dtype=np.int32).tobytes()
    pieces = [own, shared[:4096], shared[4096:8192], shared[8192:]]  # the array "own" is three times the same
    names = ["SHA256SUMS", "manifest.json", *(f"chunks/{hashlib.sha256(piece).hexdigest()}" for piece in pieces)]
    assert list(content) == names
    assert [content[name] for name in names[2:]] == pieces
    lines = [f"{hashlib.sha256(content[name]).hexdigest()}  {name}\n" for name in names[1:]]
    assert content["SHA256SUMS"].decode() == "".join(lines)


def test_the_same_release_gives_the_same_bytes(saved: Path, store: ReleaseStore, tmp_path: Path) -> None:
    before = saved.read_bytes()
    assert save_release(store, "v1", saved) == len(before) == saved.stat().st_size
    assert saved.read_bytes() == before
    assert list(tmp_path.iterdir()) == [saved]  # nothing half-written beside it


def test_what_is_loaded_is_what_was_saved(saved: Path, store: ReleaseStore, target: ReleaseStore) -> None:
    load(saved, target)
    assert target.manifest_bytes("v1") == store.manifest_bytes("v1")
    manifest = target.read_manifest("v1")
    for name, array in store.read_arrays(manifest, "").items():
        np.testing.assert_array_equal(target.read_array(manifest, name), array)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_bit_anywhere_is_found(saved: Path, target: ReleaseStore, place: float, bit: int) -> None:
    content = bytearray(saved.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    damaged = saved.with_name("damaged.tar")
    damaged.write_bytes(content)
    assert str(damaged) in refused(damaged, target)


def test_a_damaged_chunk_is_named(saved: Path, target: ReleaseStore) -> None:
    content = saved.read_bytes()
    at = content.index(np.arange(1024, 2048, dtype=np.int32).tobytes())
    saved.write_bytes(content[:at] + b"\xff" + content[at + 1 :])
    message = refused(saved, target)
    assert "array shared: chunk 1 has sha256" in message
    assert "copy it here again, or save it again" in message


@pytest.mark.parametrize("num_bytes", [0, 1, 511, 512, 700, 5000, -1, -512, -1024, -9000])
def test_a_truncated_file_is_refused(saved: Path, target: ReleaseStore, num_bytes: int) -> None:
    saved.write_bytes(saved.read_bytes()[:num_bytes])
    assert "is no whole release file" in refused(saved, target)


@pytest.mark.parametrize("more", [b"\0", bytes(512), b"x" * 512])
def test_a_file_with_more_behind_it_is_refused(saved: Path, target: ReleaseStore, more: bytes) -> None:
    saved.write_bytes(saved.read_bytes() + more)
    assert "bytes, expected" in refused(saved, target)


def rewritten(path: Path, change: Callable[[list[tuple[str, bytes]]], Any]) -> None:
    """The archive with other members, as `tar` would write it."""
    with tarfile.open(path) as archive:
        members = [(member.name, archive.extractfile(member).read()) for member in archive]  # type: ignore[union-attr]
    change(members)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize(
    "change",
    [
        lambda members: members.append(members[-1]),
        lambda members: members.append(("chunks/more", b"x")),
        lambda members: members.append(("../../etc/passwd", b"x")),
        lambda members: members.__setitem__(-1, ("../../etc/passwd", members[-1][1])),
        lambda members: members.__setitem__(-1, ("/etc/passwd", members[-1][1])),
        lambda members: members.pop(),
        lambda members: members.pop(0),
        lambda members: members.pop(1),
        lambda members: members.reverse(),
        lambda members: members.insert(2, members[0]),
        lambda members: members.clear(),
    ],
)
def test_other_members_are_refused(saved: Path, target: ReleaseStore, tmp_path: Path, change: Any) -> None:
    rewritten(saved, change)
    assert "is no whole release file" in refused(saved, target)
    assert list(tmp_path.iterdir()) == [saved]  # and nothing is unpacked anywhere


def test_a_compressed_file_is_refused(saved: Path, target: ReleaseStore) -> None:
    saved.write_bytes(gzip.compress(saved.read_bytes()))
    assert "SHA256SUMS does not stand where it must" in refused(saved, target)


def test_a_size_that_is_a_lie_reads_nothing(saved: Path, target: ReleaseStore) -> None:
    """A header may say 8 GiB; no memory is taken for it."""
    size = release_archive.MOST_HEAD_BYTES + 1
    saved.write_bytes(release_archive._header("SHA256SUMS", size) + saved.read_bytes()[512:])
    assert f"SHA256SUMS has {size} bytes, the limit is" in refused(saved, target)
    saved.write_bytes(release_archive._header("SHA256SUMS", 2**20) + saved.read_bytes()[512:])
    assert "is no whole release file" in refused(saved, target)


def with_manifest(path: Path, raw: bytes) -> None:
    """A file that is consistent, with a manifest that nobody published."""
    sums = f"{hashlib.sha256(raw).hexdigest()}  manifest.json\n".encode()
    path.write_bytes(release_archive._member("SHA256SUMS", sums) + release_archive._member("manifest.json", raw))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "format_version 99"),
        ({"format_version": None}, "format_version None"),
        ({"arrays": []}, "lacks a field"),
        ({"arrays": {"a": {"dtype": "int32", "shape": [2**60], "chunks": []}}}, "0 chunks do not make"),
        ({"arrays": {"a": {"dtype": "int32", "shape": [-1], "chunks": []}}}, "no array of numbers"),
        ({"arrays": {"a": {"dtype": "object", "shape": [1], "chunks": ["ab" * 32]}}}, "no array of numbers"),
        ({"arrays": {"a": {"dtype": "(", "shape": [1], "chunks": ["ab" * 32]}}}, "no array of numbers"),
        ({"arrays": {"a": {"dtype": "int8", "shape": [1], "chunks": ["../../x"]}}}, "is no sha256"),
        ({"arrays": {"a": {"dtype": "int8", "shape": [1], "chunks": [5]}}}, "is no sha256"),
        ({"arrays": {"a": {"dtype": "int8", "shape": [1], "chunks": 5}}}, "lacks a field"),
        ({"more": 1}, "one too many"),
    ],
)
def test_a_manifest_that_nobody_published_is_refused(
    saved: Path, store: ReleaseStore, target: ReleaseStore, change: dict[str, Any], message: str
) -> None:
    raw = json.loads(store.manifest_bytes("v1")) | change
    with_manifest(saved, json.dumps(raw).encode())
    found = refused(saved, target)
    assert message in found
    assert str(saved) in found


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"[" * 100_000, b"\xff\xfe"])
def test_what_is_no_manifest_is_refused(saved: Path, target: ReleaseStore, raw: bytes) -> None:
    with_manifest(saved, raw)
    assert str(saved) in refused(saved, target)


def test_one_sha256_of_two_lengths_is_refused(store: ReleaseStore) -> None:
    written = write_tiny(store, "v1")
    sha256 = written.arrays["own"].chunks[0]
    arrays = {
        "a": ArraySpec(dtype="int8", shape=(4096,), chunks=(sha256,)),
        "b": ArraySpec(dtype="int8", shape=(5,), chunks=(sha256,)),
    }
    manifest = replace(written, arrays=arrays)
    with pytest.raises(CorruptBlobError, match=r"array b: chunk 0 is 5 bytes, and the same sha256 4096 in array a"):
        release_archive.distinct_chunks(manifest)


def test_a_corrupt_chunk_is_named_and_no_file_is_left(
    store: ReleaseStore, client: redis.Redis, namespace: str, tmp_path: Path
) -> None:
    address = list(write_tiny(store, "v1").arrays["shared"].addresses)[2]
    client.setrange(RedisKeys(namespace).blob(*address), 3, b"\xff")
    with pytest.raises(CorruptBlobError, match="array shared: chunk 2 has sha256"):
        save_release(store, "v1", tmp_path / "v1.tar")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_leaves_the_old_file(saved: Path, store: ReleaseStore, tmp_path: Path) -> None:
    """By a limit of the system on the size of files, which a write meets as it meets the end of a disk."""
    before = saved.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(
            JobError, match=r"v1.tar cannot be written \(File too large\): make room .*nothing was left"
        ):
            save_release(store, "v1", saved)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert saved.read_bytes() == before
    assert list(tmp_path.iterdir()) == [saved]


def test_a_disk_that_is_too_small_is_known_before(
    store: ReleaseStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny(store, "v1")
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(JobError, match=r"v1.tar needs \d+ bytes, and 1000 are free there"):
        save_release(store, "v1", tmp_path / "v1.tar")
    assert list(tmp_path.iterdir()) == []


def test_a_release_is_never_in_memory_as_a_whole(
    store: ReleaseStore, target: ReleaseStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16 MiB in chunks of 64 KiB, of which a few are in flight at a time, each perhaps three times."""
    monkeypatch.setattr(blobs, "CHUNK_BYTES", 2**16)
    array = np.arange(2**21)
    written = write_tiny(store, "v1")
    store.write_manifest(replace(written, version="v2", arrays=store.write_arrays({"large": array})))
    tracemalloc.start()
    try:
        save_release(store, "v2", tmp_path / "v2.tar")
        load(tmp_path / "v2.tar", target)
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(target.read_array(target.read_manifest("v2"), "large"), array)
