"""Arrays as content-addressed chunks of 8 MiB (docs/decisions.md, 4), read and written by several threads at once."""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

CHUNK_BYTES = 8 * 1024 * 1024
"""Every chunk of an array but the last has exactly this many bytes: part of the format."""

READERS = 4
"""Chunks in flight. Hashing and receiving overlap from two on; far stores gain from more."""

Task = TypeVar("Task")


class CorruptBlobError(ValueError):
    """Stored bytes are missing or are not those that the manifest names."""


class ChunkAddress(NamedTuple):
    """Where a chunk lies: the sha256 of its bytes, and its number within the array (the arguments of a Redis key)."""

    sha256: str
    chunk: int

    @property
    def file_name(self) -> str:
        """Name of the chunk where names must not lead elsewhere.

        Raises:
            CorruptBlobError: the sha256 is none, which would make a path out of whatever a manifest says.
        """
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise CorruptBlobError(
                f"chunk {self.chunk} has the address {self.sha256!r}, which is no sha256; publish again"
            )
        return self.sha256


@dataclass(frozen=True, kw_only=True)
class ArraySpec:
    """What a manifest says of one array. Its chunks in their order, by sha256, leave nothing of it open.

    Attributes:
        dtype: numpy name, such as "int32".
        shape: lengths of the axes.
        chunks: sha256 of every 8 MiB chunk, in order.
    """

    dtype: str
    shape: tuple[int, ...]
    chunks: tuple[str, ...]

    @property
    def addresses(self) -> Iterator[ChunkAddress]:
        """Of every chunk, in order."""
        yield from (ChunkAddress(sha256, chunk) for chunk, sha256 in enumerate(self.chunks))


def cut_array(array: npt.NDArray[Any]) -> tuple[ArraySpec, list[memoryview]]:
    """Describe an array, and its bytes in chunks; they are views where the array is contiguous."""
    raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    pieces = [raw[start : start + CHUNK_BYTES].data for start in range(0, len(raw), CHUNK_BYTES)]
    chunks = tuple(hashlib.sha256(piece).hexdigest() for piece in pieces)
    return ArraySpec(dtype=array.dtype.name, shape=tuple(array.shape), chunks=chunks), pieces


def read_arrays(
    specs: Mapping[str, ArraySpec], read: Callable[[ChunkAddress], bytes | None]
) -> dict[str, npt.NDArray[Any]]:
    """Put arrays together again and verify every byte of them, each once.

    Args:
        specs: what to read, by name.
        read: gives the bytes of a chunk, None where there are none; called by several threads.

    Raises:
        CorruptBlobError: a chunk is missing or its sha256 differs, or the chunks do not fill the shape.
    """
    raws = {name: np.empty(_num_bytes(name, spec), np.uint8) for name, spec in specs.items()}

    def fill(task: tuple[str, ChunkAddress]) -> None:
        name, address = task
        start = address.chunk * CHUNK_BYTES
        room = raws[name][start : start + CHUNK_BYTES]
        room[:] = np.frombuffer(verified(name, address, read(address), len(room)), np.uint8)

    in_parallel(fill, ((name, address) for name, spec in specs.items() for address in spec.addresses))
    return {name: raws[name].view(np.dtype(spec.dtype)).reshape(spec.shape) for name, spec in specs.items()}


def verify_arrays(specs: Mapping[str, ArraySpec], read: Callable[[ChunkAddress], bytes | None]) -> None:
    """Read every byte like `read_arrays` and keep none.

    Raises:
        CorruptBlobError: as there.
    """
    sizes = {name: _num_bytes(name, spec) for name, spec in specs.items()}

    def check(task: tuple[str, ChunkAddress]) -> None:
        name, address = task
        verified(name, address, read(address), min(CHUNK_BYTES, sizes[name] - address.chunk * CHUNK_BYTES))

    in_parallel(check, ((name, address) for name, spec in specs.items() for address in spec.addresses))


def verified(name: str, address: ChunkAddress, piece: bytes | None, num_bytes: int) -> bytes:
    """The bytes of a chunk, if they are those of its address.

    Raises:
        CorruptBlobError: they are missing, or others.
    """
    where = f"array {name}: chunk {address.chunk}"
    if piece is None:
        raise CorruptBlobError(f"{where} (sha256 {address.sha256}) is missing; publish the run again")
    found = hashlib.sha256(piece).hexdigest()
    if found != address.sha256:
        raise CorruptBlobError(f"{where} has sha256 {found}, expected {address.sha256}; publish again")
    if len(piece) != num_bytes:
        raise CorruptBlobError(f"{where} has {len(piece)} bytes, expected {num_bytes}; publish again")
    return piece


def in_parallel(work: Callable[[Task], None], tasks: Iterable[Task]) -> None:
    """Do every task on a few threads; the first error ends it, and what has not begun is left."""
    with ThreadPoolExecutor(READERS, thread_name_prefix="blobs") as pool:
        for _ in pool.map(work, tasks):
            pass


def _num_bytes(name: str, spec: ArraySpec) -> int:
    """Bytes of an array, once dtype, shape and number of chunks agree; nothing is allocated before."""
    try:
        dtype = np.dtype(spec.dtype)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "biuf" or not all(map(_is_length, spec.shape)):
        raise CorruptBlobError(
            f"array {name} is {spec.dtype}{list(spec.shape)}: that is no array of numbers; publish again"
        )
    expected = dtype.itemsize
    for length in spec.shape:
        expected *= length
    if len(spec.chunks) != -(-expected // CHUNK_BYTES):
        raise CorruptBlobError(
            f"array {name}: {len(spec.chunks)} chunks do not make {spec.dtype}{list(spec.shape)}; publish again"
        )
    return expected


def _is_length(value: Any) -> bool:
    return type(value) is int and value >= 0
