"""One release in one file: an uncompressed tar that can be written in one way only, so that any other byte is damage.

    SHA256SUMS                 of the manifest and every chunk, as `sha256sum -c` takes it
    manifest.json              byte for byte as it stood in Redis
    chunks/<sha256>            each once, in the order of the arrays' names

Everything but the manifest follows from the manifest: names, sizes, headers, the length of the file. So nothing is
looked up in the archive and nothing of it is unpacked to a disk; a name in it can lead nowhere.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from offline.errors import BadInputError, JobError
from offline.whole_files import whole_file
from service.contract.blobs import Chunk, CorruptBlobError, chunks_of, in_order, in_parallel
from service.contract.manifest import Manifest

BLOCK = 512
"""Bytes; in a tar everything begins at a multiple of it."""

MOST_HEAD_BYTES = 64 * 1024 * 1024
"""Of the manifest, and of the list of sums: enough for some hundred thousand chunks, which are terabytes."""

SUMS, MANIFEST, CHUNKS = "SHA256SUMS", "manifest.json", "chunks"
_END = bytes(2 * BLOCK)


def write_archive(path: Path, raw: bytes, manifest: Manifest, read: Callable[[Chunk], bytes]) -> int:
    """Write a release into a file, whole or not at all; returns its bytes. The same release gives the same bytes.

    Args:
        path: of the file; one that is there is replaced when the new one is whole.
        raw: the manifest's own bytes.
        manifest: what they say.
        read: gives the verified bytes of a chunk; called by several threads, a few chunks ahead.

    Raises:
        JobError: the file cannot be written, such as on a full disk.
        ValueError: as from `read`.
    """
    chunks = list(distinct_chunks(manifest).values())
    sums = _sums(raw, manifest)
    num_bytes = sum(map(_member_bytes, [len(sums), len(raw), *(chunk.num_bytes for chunk in chunks)])) + len(_END)
    try:
        if num_bytes > (free := shutil.disk_usage(path.resolve().parent).free):
            raise JobError(f"{path} needs {num_bytes} bytes, and {free} are free there: make room or take another disk")
        with whole_file(path) as part, part.open("wb") as file:
            for name, content in ((SUMS, sums), (MANIFEST, raw)):
                file.write(_member(name, content))
            for chunk, piece in zip(chunks, in_order(read, chunks), strict=True):
                file.write(_member(_name(chunk), piece))
            file.write(_END)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise JobError(
            f"{path} cannot be written ({error.strerror or error}): make room or take another disk; nothing was left"
        ) from error
    return num_bytes


class ReleaseArchive:
    """A file that `write_archive` wrote; everything but the bytes of the chunks is checked when it is opened.

    Args:
        path: of the file.
        file: open for reading; stays open for as long as chunks are read.

    Attributes:
        raw: the manifest's own bytes.

    Raises:
        BadInputError: it is no such file, or a damaged one.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._at = 0
        sums = self._small_member(SUMS)
        self.raw = self._small_member(MANIFEST)
        if not sums.startswith(_sum_line(hashlib.sha256(self.raw).hexdigest(), MANIFEST)):
            raise self._damaged(f"{MANIFEST} is not what {SUMS} says")
        try:
            manifest = Manifest.from_json(self.raw)
            self._chunks = distinct_chunks(manifest)
        except (TypeError, ValueError) as error:
            raise BadInputError(f"{path} cannot be loaded: {error}") from error
        if sums != _sums(self.raw, manifest):
            raise self._damaged(f"{SUMS} does not list the chunks of {MANIFEST}")
        self._offsets = dict(self._locate())

    def read(self, chunk: Chunk) -> bytes:
        """The bytes of a chunk, verified. May be called by several threads.

        Raises:
            BadInputError: they are not what they must be.
        """
        try:
            return chunk.verified(os.pread(self._file.fileno(), chunk.num_bytes, self._offsets[chunk.address.sha256]))
        except CorruptBlobError as error:
            raise self._damaged(str(error).partition(";")[0]) from error
        except OSError as error:
            raise BadInputError(f"{self._path} cannot be read ({error.strerror}): copy it here again") from error

    def verify(self) -> None:
        """Read every chunk, so that nothing is written anywhere before the whole file is known to be right.

        Raises:
            BadInputError: a chunk is not what it must be; names it.
        """

        def check(chunk: Chunk) -> None:
            self.read(chunk)

        in_parallel(check, self._chunks.values())

    def _locate(self) -> Iterator[tuple[str, int]]:
        """Where each chunk begins, once all that surrounds it is what it must be."""
        sizes = [chunk.num_bytes for chunk in self._chunks.values()]
        expected = self._at + sum(map(_member_bytes, sizes)) + len(_END)
        if (found := os.fstat(self._file.fileno()).st_size) != expected:
            raise self._damaged(f"it has {found} bytes, expected {expected}")
        for sha256, chunk in self._chunks.items():
            self._expect(_header(_name(chunk), chunk.num_bytes))
            yield sha256, self._at
            self._at += chunk.num_bytes
            self._expect(_padding(chunk.num_bytes))
        self._expect(_END)

    def _small_member(self, name: str) -> bytes:
        header = self._take(BLOCK)
        size = re.fullmatch(rb"[0-7]{11}\0", header[124:136])
        if not size or header != _header(name, int(size[0][:-1], 8)):
            raise self._damaged(f"{name} does not stand where it must")
        num_bytes = int(size[0][:-1], 8)
        if num_bytes > MOST_HEAD_BYTES:
            raise self._damaged(f"{name} has {num_bytes} bytes, the limit is {MOST_HEAD_BYTES}")
        content = self._take(num_bytes)
        self._expect(_padding(num_bytes))
        return content

    def _take(self, num_bytes: int) -> bytes:
        taken = os.pread(self._file.fileno(), num_bytes, self._at)
        if len(taken) != num_bytes:
            raise self._damaged(f"it ends after {self._at + len(taken)} bytes")
        self._at += num_bytes
        return taken

    def _expect(self, block: bytes) -> None:
        at = self._at
        if self._take(len(block)) != block:
            raise self._damaged(f"what stands at byte {at} is not what must stand there")

    def _damaged(self, reason: str) -> BadInputError:
        return BadInputError(
            f"{self._path} is no whole release file ({reason}): copy it here again, or save it again with "
            "python -m offline releases save VERSION FILE"
        )


def distinct_chunks(manifest: Manifest) -> dict[str, Chunk]:
    """sha256 to the first chunk that has it, in the order of the arrays' names.

    Raises:
        CorruptBlobError: the manifest contradicts itself: a sha256 that is none, or one with two lengths.
    """
    chunks: dict[str, Chunk] = {}
    for chunk in chunks_of(dict(sorted(manifest.arrays.items()))):
        first = chunks.setdefault(chunk.address.file_name, chunk)
        if first.num_bytes != chunk.num_bytes:
            raise CorruptBlobError(
                f"array {chunk.array}: chunk {chunk.address.chunk} is {chunk.num_bytes} bytes, and the same sha256 "
                f"{first.num_bytes} in array {first.array}; publish again"
            )
    return chunks


def _sums(raw: bytes, manifest: Manifest) -> bytes:
    lines = [_sum_line(hashlib.sha256(raw).hexdigest(), MANIFEST)]
    return b"".join(lines + [_sum_line(sha256, _name(chunk)) for sha256, chunk in distinct_chunks(manifest).items()])


def _sum_line(sha256: str, name: str) -> bytes:
    return f"{sha256}  {name}\n".encode()


def _name(chunk: Chunk) -> str:
    return f"{CHUNKS}/{chunk.address.file_name}"


def _member_bytes(num_bytes: int) -> int:
    return BLOCK + num_bytes + -num_bytes % BLOCK


def _member(name: str, content: bytes) -> bytes:
    return _header(name, len(content)) + content + _padding(len(content))


def _padding(num_bytes: int) -> bytes:
    return bytes(-num_bytes % BLOCK)


def _header(name: str, num_bytes: int) -> bytes:
    """The block before a file in a tar (POSIX ustar): of nobody, of no time. By hand, as `tarfile`'s changed."""
    fields = [
        name.encode().ljust(100, b"\0"),
        b"0000644\0",  # mode
        b"0000000\0" * 2,  # user, group
        b"%011o\0" % num_bytes,
        b"%011o\0" % 0,  # time
        b" " * 8,  # stands here while the sum is taken
        b"0",  # a plain file
        bytes(100),
        b"ustar\x0000",
    ]
    block = b"".join(fields).ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
