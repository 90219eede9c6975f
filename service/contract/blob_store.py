"""The one small interface behind which the chunks of releases lie: Redis, a folder, or any URL that fsspec knows."""

import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from service.contract.blob_folder import FolderBlobs, StoredBlob
from service.contract.blob_location import REDIS
from service.contract.blob_url import UrlBlobs
from service.contract.blobs import READERS, ChunkAddress
from service.contract.redis_keys import RedisKeys

logger = logging.getLogger(__name__)

KEY_BYTES = 160
"""What a chunk takes in Redis beside its bytes."""


class NoRoomError(RuntimeError):
    """A release does not fit; nothing was written. The message has the figures and the cure."""


class BlobStore(Protocol):
    """Chunks by address. All methods may be called by several threads at once."""

    def read(self, address: ChunkAddress) -> bytes | None:
        """Bytes of a chunk, None where there are none; whoever asks verifies them.

        Raises:
            BlobsUnreachableError: nobody can say.
        """

    def write(self, address: ChunkAddress, piece: memoryview) -> None:
        """Store a chunk, whole or not at all.

        Raises:
            BlobsUnreachableError: it cannot be stored.
        """

    def prepare(self, sizes: Mapping[ChunkAddress, int]) -> None:
        """To be called before `write`: prepare the place, and refuse what does not fit.

        Args:
            sizes: bytes of every chunk that is to lie there in the end.

        Raises:
            BlobsUnreachableError: there is no such place.
            NoRoomError: it does not.
        """

    def stored(self) -> Iterator[StoredBlob]:
        """Every chunk of the namespace that lies there, whether a release names it or not.

        Raises:
            BlobsUnreachableError: nobody can say.
        """

    def remove(self, blob: StoredBlob) -> None:
        """Remove what `stored` found; it may have gone already.

        Raises:
            BlobsUnreachableError: it cannot be removed.
        """


class RedisStrings(Protocol):
    """The Redis commands that chunks need; redis-py's `Redis` has them."""

    def get(self, name: str) -> Any: ...  # noqa: D102
    def set(self, name: str, value: Any) -> Any: ...  # noqa: D102
    def strlen(self, name: str) -> Any: ...  # noqa: D102
    def info(self, section: str) -> Any: ...  # noqa: D102
    def scan_iter(self, match: str) -> Any: ...  # noqa: D102
    def unlink(self, name: str) -> Any: ...  # noqa: D102


class RedisBlobs:
    """Chunks as strings of the Redis that also has the manifest."""

    def __init__(self, client: RedisStrings, keys: RedisKeys) -> None:
        self._client = client
        self._keys = keys

    def read(self, address: ChunkAddress) -> bytes | None:
        """Bytes of a chunk."""
        found: bytes | None = self._client.get(self._keys.blob(*address))
        return found

    def write(self, address: ChunkAddress, piece: memoryview) -> None:
        """Store a chunk; one command, so it is there whole or not at all."""
        self._client.set(self._keys.blob(*address), piece)

    def prepare(self, sizes: Mapping[ChunkAddress, int]) -> None:
        """Ask Redis for its `maxmemory`, and warn where it may drop a release by itself.

        Raises:
            NoRoomError: what is missing does not fit below `maxmemory`.
        """
        memory = self._client.info("memory")
        limit, used = int(memory.get("maxmemory", 0)), int(memory.get("used_memory", 0))
        if not limit:
            return
        policy = memory.get("maxmemory_policy", "noeviction")
        if policy.startswith("allkeys"):  # volatile-* only drops keys with a TTL, which releases do not have
            logger.warning(
                "Redis has maxmemory-policy %s and may drop parts of a release when it is full: set noeviction or "
                "volatile-ttl (CONFIG SET maxmemory-policy), or keep blobs elsewhere (MMGREC_BLOBS_URL)",
                policy,
            )
        missing = [size for at, size in sizes.items() if self._client.strlen(self._keys.blob(*at)) != size]
        in_flight = max(sizes.values(), default=0) * min(READERS, len(sizes))  # all of them are read back
        needed = sum(missing) + KEY_BYTES * len(missing) + in_flight
        if missing and used + needed > limit:
            raise NoRoomError(
                f"the release needs {needed} bytes more in Redis, where {used} of maxmemory {limit} are used: raise "
                "maxmemory (CONFIG SET maxmemory) or keep blobs elsewhere (MMGREC_BLOBS_URL); nothing was written"
            )

    def stored(self) -> Iterator[StoredBlob]:
        """Every chunk of the namespace."""
        for key in set(self._client.scan_iter(match=self._keys.blob("*", "*"))):  # SCAN may repeat a key
            name = bytes(key).decode()
            yield StoredBlob(name, name.split(":")[-2], int(self._client.strlen(name)), math.inf)

    def remove(self, blob: StoredBlob) -> None:
        """Remove what `stored` found."""
        self._client.unlink(blob.name)


def open_blobs(location: str, client: RedisStrings, keys: RedisKeys) -> BlobStore:
    """The store at a location in its normal form (`normal_location`)."""
    if location == REDIS:
        return RedisBlobs(client, keys)
    if location.startswith("file://"):
        return FolderBlobs(location, keys.namespace)
    return UrlBlobs(location, keys.namespace)
