"""Chunks behind a URL that fsspec knows, such as an object store: the extra `blobs`, and the package for that store."""

import re
import time
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from service.contract.blob_folder import BlobsUnreachableError, StoredBlob, folder_name
from service.contract.blobs import ChunkAddress


class UrlBlobs:
    """Objects named by the sha256 of what they hold; an object store writes one whole or not at all.

    Args:
        location: URL in its normal form. Credentials come from where the store's package looks for them.
        namespace: whose chunks.

    Raises:
        BlobsUnreachableError: fsspec, or the package that it needs for this URL, is not installed.
    """

    def __init__(self, location: str, namespace: str) -> None:
        self._location = location
        try:
            self._files, root = import_module("fsspec.core").url_to_fs(location)
        except (ImportError, ValueError) as error:  # ValueError: no such protocol
            raise BlobsUnreachableError(
                f"the blobs at {location} cannot be used ({error}): pip install 'mmgrec[blobs]' and the package that "
                "fsspec names for this kind of URL, such as s3fs or gcsfs"
            ) from error
        self._folder = f"{root}/{folder_name(namespace)}"

    def read(self, address: ChunkAddress) -> bytes | None:
        """Bytes of a chunk, None where there is no such object.

        Raises:
            BlobsUnreachableError: the store does not say.
        """
        path = f"{self._folder}/{address.file_name}"
        try:
            return bytes(self._files.cat_file(path))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._unreachable(error) from error

    def write(self, address: ChunkAddress, piece: memoryview) -> None:
        """Put one object.

        Raises:
            BlobsUnreachableError: the store did not take it.
        """
        path = f"{self._folder}/{address.file_name}"
        try:
            self._files.pipe_file(path, bytes(piece))
        except Exception as error:
            raise self._unreachable(error) from error

    def prepare(self, sizes: Mapping[ChunkAddress, int]) -> None:  # noqa: ARG002
        """Make the folder, where the store has any. There is no limit to ask for.

        Raises:
            BlobsUnreachableError: it cannot be made.
        """
        try:
            self._files.makedirs(self._folder, exist_ok=True)
        except Exception as error:
            raise self._unreachable(error) from error

    def stored(self) -> Iterator[StoredBlob]:
        """Every chunk of the namespace; one whose age the store does not tell counts as new.

        Raises:
            BlobsUnreachableError: the store does not say.
        """
        try:
            for path, found in self._files.find(self._folder, maxdepth=1, detail=True).items():
                name = str(path).rpartition("/")[2]
                if re.fullmatch(r"[0-9a-f]{64}", name):
                    yield StoredBlob(name, name, int(found["size"]), self._age_seconds(path))
        except FileNotFoundError:
            return
        except Exception as error:
            raise self._unreachable(error) from error

    def remove(self, blob: StoredBlob) -> None:
        """Remove what `stored` found; it may have gone already.

        Raises:
            BlobsUnreachableError: the store did not do it.
        """
        try:
            self._files.rm_file(f"{self._folder}/{blob.name}")
        except FileNotFoundError:
            return
        except Exception as error:
            raise self._unreachable(error) from error

    def _age_seconds(self, path: str) -> float:
        try:
            return time.time() - float(self._files.modified(path).timestamp())
        except NotImplementedError:
            return 0.0

    def _unreachable(self, error: Any) -> BlobsUnreachableError:
        """Without the text of the error, which may hold a signed URL."""
        return BlobsUnreachableError(
            f"the blobs at {self._location} cannot be used ({type(error).__name__}): check that the store is up and "
            "that its credentials are set here. The URL comes from MMGREC_BLOBS_URL"
        )
