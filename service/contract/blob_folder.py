"""Chunks as files of a local or mounted folder; needs no package."""

import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from service.contract.blobs import ChunkAddress

_FILE = re.compile(r"([0-9a-f]{64})(\.\d+-\d+\.part)?")


class BlobsUnreachableError(RuntimeError):
    """Chunks can be neither read nor written at their location; says where, and what to look after."""


class StoredBlob(NamedTuple):
    """What lies in a store, whether a release names it or not.

    Attributes:
        name: of it in the store.
        sha256: that it is stored under; "" for what a writer that died has left.
        num_bytes: that it takes.
        age_seconds: since it was written; infinite where only the lock of a job counts, as in Redis.
    """

    name: str
    sha256: str
    num_bytes: int
    age_seconds: float


def folder_name(namespace: str) -> str:
    """Folder of a namespace's chunks below a location: so that removing one's releases leaves the other's alone."""
    return f"{namespace}-blobs"  # never "..", whatever the namespace is


class FolderBlobs:
    """Files named by the sha256 of what they hold.

    Args:
        location: `file:///...` in its normal form.
        namespace: whose chunks.
    """

    def __init__(self, location: str, namespace: str) -> None:
        self._root = Path(location.removeprefix("file://"))
        self._folder = self._root / folder_name(namespace)

    def read(self, address: ChunkAddress) -> bytes | None:
        """Bytes of a chunk, None where there is no such file.

        Raises:
            BlobsUnreachableError: the folder is not there or cannot be read.
        """
        try:
            return (self._folder / address.file_name).read_bytes()
        except FileNotFoundError as error:
            if not self._root.is_dir():
                raise self._unreachable(error) from error
            return None
        except OSError as error:
            raise self._unreachable(error) from error

    def write(self, address: ChunkAddress, piece: memoryview) -> None:
        """Write beside and rename, so that a reader never sees half a file, also after a crash.

        Raises:
            BlobsUnreachableError: the folder cannot be written, or the disk is full.
        """
        path = self._folder / address.file_name
        part = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
        try:
            try:
                with part.open("wb") as file:
                    file.write(piece)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise self._unreachable(error) from error

    def prepare(self, sizes: Mapping[ChunkAddress, int]) -> None:  # noqa: ARG002
        """Make the folder. A full disk fails the write, and what was written until then is named by no manifest.

        Raises:
            BlobsUnreachableError: the folder cannot be made.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unreachable(error) from error

    def stored(self) -> Iterator[StoredBlob]:
        """Every chunk of the namespace, and what writers that died have left; other files are not ours.

        Raises:
            BlobsUnreachableError: the folder cannot be read.
        """
        try:
            for entry in os.scandir(self._folder):
                if match := _FILE.fullmatch(entry.name):
                    found = entry.stat()
                    sha256 = "" if match[2] else match[1]
                    yield StoredBlob(entry.name, sha256, found.st_size, time.time() - found.st_mtime)
        except FileNotFoundError as error:
            if not self._root.is_dir():
                raise self._unreachable(error) from error
        except OSError as error:
            raise self._unreachable(error) from error

    def remove(self, blob: StoredBlob) -> None:
        """Remove what `stored` found; it may have gone already.

        Raises:
            BlobsUnreachableError: the folder cannot be written.
        """
        try:
            (self._folder / blob.name).unlink(missing_ok=True)
        except OSError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: OSError) -> BlobsUnreachableError:
        return BlobsUnreachableError(
            f"the blobs in {self._root} cannot be used ({error.strerror or type(error).__name__}): is it mounted here, "
            "and may this user read it (the jobs: write it)? It comes from MMGREC_BLOBS_URL"
        )
