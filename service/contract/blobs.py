"""Arrays as content-addressed chunks of 8 MiB (docs/decisions.md, 4), read and written by several threads at once."""

import hashlib
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

CHUNK_BYTES = 8 * 1024 * 1024
"""Every chunk of an array but the last has exactly this many bytes: part of the format."""

READERS = 4
"""Chunks in flight. Hashing and receiving overlap from two on; far stores gain from more."""

Task = TypeVar("Task")
Result = TypeVar("Result")


class Written(NamedTuple):
    """What had to be written, as it was not there yet, or damaged."""

    chunks: int
    num_bytes: int


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
        if not re.fullmatch(r"[0-9a-f]{64}", str(self.sha256)):
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


class Chunk(NamedTuple):
    """One chunk of a release.

    Attributes:
        array: name of the array that it is a part of.
        address: where it lies.
        num_bytes: how long it is.
    """

    array: str
    address: ChunkAddress
    num_bytes: int

    def verified(self, piece: bytes | None) -> bytes:
        """These bytes, if they are the chunk's.

        Raises:
            CorruptBlobError: they are missing, or others.
        """
        sha256, where = self.address.sha256, f"array {self.array}: chunk {self.address.chunk}"
        if piece is None:
            raise CorruptBlobError(f"{where} (sha256 {sha256}) is missing; publish the run again")
        found = hashlib.sha256(piece).hexdigest()
        if found != sha256:
            raise CorruptBlobError(f"{where} has sha256 {found}, expected {sha256}; publish again")
        if len(piece) != self.num_bytes:
            raise CorruptBlobError(f"{where} has {len(piece)} bytes, expected {self.num_bytes}; publish again")
        return piece


def chunks_of(specs: Mapping[str, ArraySpec]) -> Iterator[Chunk]:
    """Every chunk of some arrays, in their order.

    Raises:
        CorruptBlobError: an array is none of numbers, or its chunks do not fill its shape.
    """
    for name, spec in specs.items():
        num_bytes = _num_bytes(name, spec)
        for address in spec.addresses:
            yield Chunk(name, address, min(CHUNK_BYTES, num_bytes - address.chunk * CHUNK_BYTES))


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

    def fill(chunk: Chunk) -> None:
        start = chunk.address.chunk * CHUNK_BYTES
        piece = chunk.verified(read(chunk.address))
        raws[chunk.array][start : start + chunk.num_bytes] = np.frombuffer(piece, np.uint8)

    in_parallel(fill, chunks_of(specs))
    return {name: raws[name].view(np.dtype(spec.dtype)).reshape(spec.shape) for name, spec in specs.items()}


def verify_arrays(specs: Mapping[str, ArraySpec], read: Callable[[ChunkAddress], bytes | None]) -> None:
    """Read every byte like `read_arrays` and keep none.

    Raises:
        CorruptBlobError: as there.
    """

    def check(chunk: Chunk) -> None:
        chunk.verified(read(chunk.address))

    in_parallel(check, chunks_of(specs))


def in_parallel(work: Callable[[Task], None], tasks: Iterable[Task]) -> None:
    """Do every task on a few threads; the first error ends it, and what has not begun is left."""
    with ThreadPoolExecutor(READERS, thread_name_prefix="blobs") as pool:
        for _ in pool.map(work, tasks):
            pass


def in_order(work: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
    """The result of every task, in order; no more are under way or waiting than there are threads."""
    with ThreadPoolExecutor(READERS, thread_name_prefix="blobs") as pool:
        pending = deque[Future[Result]]()
        for task in tasks:
            if len(pending) == READERS:
                yield pending.popleft().result()
            pending.append(pool.submit(work, task))
        while pending:
            yield pending.popleft().result()


def _num_bytes(name: str, spec: ArraySpec) -> int:
    """Bytes of an array, once dtype, shape and number of chunks agree; nothing is allocated before."""
    try:
        dtype = np.dtype(spec.dtype)
    except (TypeError, ValueError, SyntaxError):
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
