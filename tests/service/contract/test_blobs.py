"""Arrays as content-addressed chunks: cut by eye, shared between versions, every fault named."""

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from service.contract import blobs
from service.contract.blobs import CHUNK_BYTES, CorruptBlobError, chunk_addresses, cut_array, join_array


@pytest.fixture
def eight_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of two int32 each, so that cuts are seen by eye."""
    monkeypatch.setattr(blobs, "CHUNK_BYTES", 8)


def sha256(*numbers: int) -> str:
    return hashlib.sha256(np.array(numbers, "<i4").tobytes()).hexdigest()


@pytest.mark.usefixtures("eight_bytes")
def test_cut_by_eye() -> None:
    spec, pieces = cut_array(np.array([1, 2, 3, 4, 5], np.int32))
    assert pieces == [np.array(part, np.int32).tobytes() for part in ([1, 2], [3, 4], [5])]
    assert (spec.dtype, spec.shape, spec.sha256) == ("int32", (5,), sha256(1, 2, 3, 4, 5))
    assert spec.chunks == (sha256(1, 2), sha256(3, 4), sha256(5))
    assert list(chunk_addresses(spec)) == [(sha256(1, 2), 0), (sha256(3, 4), 1), (sha256(5), 2)]


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
    assert np.array_equal(join_array("a", spec, pieces), array)
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
def test_join_is_the_inverse(array: np.ndarray[Any, Any]) -> None:
    spec, pieces = cut_array(array)
    joined = join_array("a", spec, pieces)
    assert (joined.dtype, joined.shape, joined.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert len(pieces) == len(spec.chunks) == -(-array.nbytes // 8)


@pytest.mark.usefixtures("eight_bytes")
def test_a_missing_chunk_is_named() -> None:
    spec, pieces = cut_array(np.arange(5, dtype=np.int32))
    with pytest.raises(CorruptBlobError, match=rf"array trie: chunk 1 \(sha256 {spec.chunks[1]}\) is missing; publish"):
        join_array("trie", spec, [pieces[0], None, pieces[2]])


@pytest.mark.usefixtures("eight_bytes")
@pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda raw: raw + b"x", lambda raw: b"\xff" + raw[1:]])
def test_a_corrupt_chunk_is_named(damage: Any) -> None:
    spec, pieces = cut_array(np.arange(5, dtype=np.int32))
    bad = damage(pieces[2])
    found = hashlib.sha256(bad).hexdigest()
    with pytest.raises(CorruptBlobError, match=rf"array trie: chunk 2 has sha256 {found}, expected {spec.chunks[2]}"):
        join_array("trie", spec, [*pieces[:2], bad])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shape": (6,)}, r"20 bytes do not make int32\[6\]"),
        ({"dtype": "int64"}, r"20 bytes do not make int64\[5\]"),
        ({"sha256": "0" * 64}, r"20 bytes do not make int32\[5\]"),
    ],
)
@pytest.mark.usefixtures("eight_bytes")
def test_chunks_of_another_array_are_refused(wrong: dict[str, Any], message: str) -> None:
    """Every chunk is what the manifest names, but the whole is not."""
    spec, pieces = cut_array(np.arange(5, dtype=np.int32))
    with pytest.raises(CorruptBlobError, match=message):
        join_array("trie", replace(spec, **wrong), pieces)


@pytest.mark.usefixtures("eight_bytes")
def test_chunks_in_another_order_are_refused() -> None:
    spec, pieces = cut_array(np.arange(4, dtype=np.int32))
    with pytest.raises(CorruptBlobError, match="array trie"):
        join_array("trie", replace(spec, chunks=spec.chunks[::-1]), pieces[::-1])
