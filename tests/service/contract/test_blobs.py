"""Arrays as content-addressed chunks: cut by eye, shared between versions, every fault named."""

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.contract import blobs
from service.contract.blobs import (
    CHUNK_BYTES,
    READERS,
    ArraySpec,
    ChunkAddress,
    CorruptBlobError,
    cut_array,
    in_order,
    in_parallel,
    read_arrays,
    verify_arrays,
)


@pytest.fixture
def eight_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of two int32 each, so that cuts are seen by eye."""
    monkeypatch.setattr(blobs, "CHUNK_BYTES", 8)


def sha256(*numbers: int) -> str:
    return hashlib.sha256(np.array(numbers, "<i4").tobytes()).hexdigest()


def at(pieces: Sequence[Any]) -> Callable[[ChunkAddress], bytes | None]:
    """A store that has these chunks, whatever their address says."""
    return lambda address: None if pieces[address.chunk] is None else bytes(pieces[address.chunk])


def join(spec: ArraySpec, pieces: Sequence[Any]) -> npt.NDArray[Any]:
    return read_arrays({"trie": spec}, at(pieces))["trie"]


@pytest.mark.usefixtures("eight_bytes")
def test_cut_by_eye() -> None:
    spec, pieces = cut_array(np.array([1, 2, 3, 4, 5], np.int32))
    assert list(map(bytes, pieces)) == [np.array(part, np.int32).tobytes() for part in ([1, 2], [3, 4], [5])]
    assert (spec.dtype, spec.shape) == ("int32", (5,))
    assert spec.chunks == (sha256(1, 2), sha256(3, 4), sha256(5))
    assert list(spec.addresses) == [(sha256(1, 2), 0), (sha256(3, 4), 1), (sha256(5), 2)]


def test_cutting_copies_nothing() -> None:
    array = np.arange(5, dtype=np.int32)
    pieces = cut_array(array)[1]
    assert np.shares_memory(np.frombuffer(pieces[0], np.uint8), array)


@pytest.mark.usefixtures("eight_bytes")
def test_an_array_that_grew_shares_its_full_chunks() -> None:
    before, _ = cut_array(np.array([1, 2, 3, 4, 5], np.int32))
    after, _ = cut_array(np.array([1, 2, 3, 4, 5, 6, 7], np.int32))
    assert after.chunks[:2] == before.chunks[:2]
    assert len(set(after.chunks) & set(before.chunks)) == 2


def test_a_chunk_holds_eight_mebibytes() -> None:
    assert CHUNK_BYTES == 8 * 2**20
    array = np.arange(CHUNK_BYTES + 1, dtype=np.uint8)
    spec, pieces = cut_array(array)
    assert list(map(len, pieces)) == [CHUNK_BYTES, 1]
    assert np.array_equal(join(spec, pieces), array)
    whole, _ = cut_array(array[:-1])
    assert whole.chunks == spec.chunks[:1]


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0,), np.int32),
        np.zeros((0, 7), np.float32),
        np.array(3, np.int64),
        np.array([[1.5, np.nan], [np.inf, -0.0]], np.float32),
        np.arange(12, dtype=np.int16).reshape(2, 3, 2).transpose(2, 0, 1),  # not contiguous
        np.arange(10)[::3],
        np.array([True, False]),
        np.frombuffer(b"bytes", np.uint8),
    ],
    ids=["empty", "empty rows", "scalar", "nan", "transposed", "strided", "bool", "bytes"],
)
@pytest.mark.usefixtures("eight_bytes")
def test_reading_is_the_inverse(array: npt.NDArray[Any]) -> None:
    spec, pieces = cut_array(array)
    joined = join(spec, pieces)
    assert (joined.dtype, joined.shape, joined.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert len(pieces) == len(spec.chunks) == -(-array.nbytes // 8)


@given(st.lists(st.lists(st.integers(0, 255), max_size=70), max_size=5), st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_several_arrays_at_once_are_each_their_own(contents: list[list[int]], chunk_bytes: int) -> None:
    arrays = {f"array {name}": np.array(content, np.uint8) for name, content in enumerate(contents)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blobs, "CHUNK_BYTES", chunk_bytes)
        specs, stored = {}, {}
        for name, array in arrays.items():
            specs[name], pieces = cut_array(array)
            stored.update(zip(specs[name].addresses, map(bytes, pieces), strict=True))
        found = read_arrays(specs, stored.get)
        verify_arrays(specs, stored.get)
    assert {name: array.tolist() for name, array in found.items()} == dict(zip(arrays, contents, strict=True))


@pytest.mark.usefixtures("eight_bytes")
@pytest.mark.parametrize("work", [read_arrays, verify_arrays])
class TestFaults:
    def test_a_missing_chunk_is_named(self, work: Any) -> None:
        spec, pieces = cut_array(np.arange(5, dtype=np.int32))
        with pytest.raises(CorruptBlobError, match=rf"array trie: chunk 1 \(sha256 {spec.chunks[1]}\) is missing"):
            work({"trie": spec}, at([pieces[0], None, pieces[2]]))

    @pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda raw: raw + b"x", lambda raw: b"\xff" + raw[1:]])
    def test_a_corrupt_chunk_is_named(self, work: Any, damage: Any) -> None:
        spec, pieces = cut_array(np.arange(5, dtype=np.int32))
        bad = damage(bytes(pieces[2]))
        found = hashlib.sha256(bad).hexdigest()
        with pytest.raises(CorruptBlobError, match=rf"trie: chunk 2 has sha256 {found}, expected {spec.chunks[2]}"):
            work({"trie": spec}, at([*pieces[:2], bad]))

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"shape": (7,)}, r"3 chunks do not make int32\[7\]"),
            ({"shape": (6,)}, "chunk 2 has 4 bytes, expected 8"),
            ({"shape": (2**70,)}, "3 chunks do not make"),
            ({"dtype": "int64"}, r"3 chunks do not make int64\[5\]"),
            ({"dtype": "object"}, "that is no array of numbers"),
            ({"dtype": "V8"}, "that is no array of numbers"),
            ({"dtype": "no type"}, "that is no array of numbers"),
            ({"shape": (-5,)}, "that is no array of numbers"),
            ({"shape": ("5",)}, "that is no array of numbers"),
        ],
    )
    def test_chunks_of_another_array_are_refused(self, work: Any, wrong: dict[str, Any], message: str) -> None:
        """Every chunk is what the manifest names, but the whole is not."""
        spec, pieces = cut_array(np.arange(5, dtype=np.int32))
        with pytest.raises(CorruptBlobError, match=message):
            work({"trie": replace(spec, **wrong)}, at(pieces))

    def test_chunks_in_another_order_are_refused(self, work: Any) -> None:
        spec, pieces = cut_array(np.arange(4, dtype=np.int32))
        with pytest.raises(CorruptBlobError, match="array trie"):
            work({"trie": spec}, at(pieces[::-1]))


@pytest.mark.usefixtures("eight_bytes")
def test_a_short_chunk_with_the_right_hash_is_refused() -> None:
    """In the middle of an array: the manifest itself is wrong."""
    spec, _ = cut_array(np.arange(4, dtype=np.int32))
    short = b"1234"
    spec = replace(spec, chunks=(hashlib.sha256(short).hexdigest(), spec.chunks[1]))
    with pytest.raises(CorruptBlobError, match="chunk 0 has 4 bytes, expected 8"):
        join(spec, [short, short])


@pytest.mark.parametrize("address", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n", "/" + "a" * 63])
def test_an_address_that_is_no_sha256_makes_no_file_name(address: str) -> None:
    with pytest.raises(CorruptBlobError, match="is no sha256"):
        _ = ChunkAddress(address, 0).file_name
    assert ChunkAddress("a" * 64, 7).file_name == "a" * 64


def test_the_first_error_ends_the_work() -> None:
    done: list[int] = []
    enough = threading.Event()

    def work(task: int) -> None:
        if task == 0:
            raise RuntimeError("the first")
        enough.wait(0.01)
        done.append(task)

    with pytest.raises(RuntimeError, match="the first"):
        in_parallel(work, range(10_000))
    assert len(done) < 5_000


def test_results_come_in_order_with_a_few_tasks_under_way() -> None:
    begun: list[int] = []

    def work(task: int) -> int:
        begun.append(task)
        time.sleep(0.001 * (task % 3))
        return -task

    for expected, result in enumerate(in_order(work, range(30))):
        assert result == -expected
        assert len(begun) <= expected + READERS + 1


def test_an_error_of_an_ordered_task_comes_at_its_place() -> None:
    results = in_order(lambda task: 1 // (3 - task), range(1000))
    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
