"""Arrays as content-addressed chunks of at most 8 MiB (design, section 3; docs/decisions.md, 4)."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

CHUNK_BYTES = 8 * 1024 * 1024


class CorruptBlobError(ValueError):
    """Stored bytes are missing or are not those that the manifest names."""


@dataclass(frozen=True, kw_only=True)
class ArraySpec:
    """What a manifest says of one array.

    Attributes:
        dtype: numpy name, such as "int32".
        shape: lengths of the axes.
        sha256: of all bytes.
        chunks: sha256 of every 8 MiB chunk, in order.
    """

    dtype: str
    shape: tuple[int, ...]
    sha256: str
    chunks: tuple[str, ...]


def cut_array(array: npt.NDArray[Any]) -> tuple[ArraySpec, list[bytes]]:
    """Cut an array into chunks and describe it."""
    raw = np.ascontiguousarray(array).tobytes()
    pieces = [raw[start : start + CHUNK_BYTES] for start in range(0, len(raw), CHUNK_BYTES)]
    spec = ArraySpec(
        dtype=array.dtype.name,
        shape=tuple(array.shape),
        sha256=hashlib.sha256(raw).hexdigest(),
        chunks=tuple(hashlib.sha256(piece).hexdigest() for piece in pieces),
    )
    return spec, pieces


def join_array(name: str, spec: ArraySpec, pieces: Sequence[bytes | None]) -> npt.NDArray[Any]:
    """Put an array together again and verify every byte of it.

    Raises:
        CorruptBlobError: a chunk is missing, its sha256 differs, or the bytes do not fill the shape.
    """
    for chunk, (sha256, piece) in enumerate(zip(spec.chunks, pieces, strict=True)):
        if piece is None:
            raise CorruptBlobError(f"array {name}: chunk {chunk} (sha256 {sha256}) is missing; publish the run again")
        found = hashlib.sha256(piece).hexdigest()
        if found != sha256:
            raise CorruptBlobError(f"array {name}: chunk {chunk} has sha256 {found}, expected {sha256}; publish again")
    raw = b"".join(piece for piece in pieces if piece is not None)
    dtype = np.dtype(spec.dtype)
    expected = int(np.prod(spec.shape, dtype=np.int64)) * dtype.itemsize
    if len(raw) != expected or hashlib.sha256(raw).hexdigest() != spec.sha256:
        raise CorruptBlobError(
            f"array {name}: {len(raw)} bytes do not make {spec.dtype}{list(spec.shape)}; publish again"
        )
    return np.frombuffer(raw, dtype).reshape(spec.shape)


def chunk_addresses(spec: ArraySpec) -> Iterator[tuple[str, int]]:
    """(sha256, chunk number) of every chunk: the arguments of `RedisKeys.blob`."""
    yield from ((sha256, chunk) for chunk, sha256 in enumerate(spec.chunks))
