"""How a release is laid down and read back: written and verified under a new version, then one pointer flips.

Manifests and pointers are in Redis, chunks where the manifest says (service.contract.blob_store). Takes any client with
the Redis commands below (redis-py's `Redis`), so that the contract itself needs no package.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy.typing as npt

from service.contract.arm_pointers import ArmPointers, ReleaseMissingError
from service.contract.arms import ArmPointer
from service.contract.blob_location import normal_location, require_allowed
from service.contract.blob_store import BlobStore, open_blobs
from service.contract.blobs import (
    ArraySpec,
    Chunk,
    ChunkAddress,
    CorruptBlobError,
    Written,
    chunks_of,
    cut_array,
    in_parallel,
    read_arrays,
    verify_arrays,
)
from service.contract.manifest import Manifest
from service.contract.redis_client import RedisClient
from service.contract.redis_keys import MAIN_ARM, RedisKeys

__all__ = ["ReleaseMissingError", "ReleaseStore"]


class ReleaseStore:
    """Releases of one namespace; `arms` has the pointers, `blobs` says where chunks are written.

    Args:
        client: of the Redis that holds them.
        keys: of the namespace.
        blobs_url: where chunks are written, and the only place beside Redis where they are read from (blob_location).
        signing_key: signs what is written; None leaves it unsigned.
        verification_keys: one of these must have signed what is read; without any, everything is read.

    Raises:
        BlobLocationError: `blobs_url` cannot be used.
    """

    def __init__(
        self,
        client: RedisClient,
        keys: RedisKeys,
        *,
        blobs_url: str = "",
        signing_key: bytes | None = None,
        verification_keys: Sequence[bytes] = (),
    ) -> None:
        self._client = client
        self._keys = keys
        self._signing_key = signing_key
        self._verification_keys = verification_keys
        self.arms = ArmPointers(client, keys)
        self._stores: dict[str, BlobStore] = {}
        self.blobs = normal_location(blobs_url)

    def active_version(self) -> str | None:
        """Version that the main arm serves, None when nothing is published.

        Raises:
            ValueError: the pointer cannot be read.
        """
        text = self.arms.texts().get(MAIN_ARM)
        return None if text is None else ArmPointer.from_json(MAIN_ARM, text).version

    def versions(self) -> list[str]:
        """All versions of the namespace, oldest first (a version begins with its time)."""
        prefix = self._keys.release("")
        keys = set(self._client.scan_iter(match=f"{prefix}*"))  # SCAN may repeat a key
        return sorted(bytes(key).decode()[len(prefix) :] for key in keys)

    def parent_of_active(self) -> str:
        """Version that the main arm's release was published over.

        Raises:
            ReleaseMissingError: nothing is published, or the active release is the first.
        """
        active = self.active_version()
        parent = self.read_manifest(active).parent if active else None
        if parent is None:
            raise ReleaseMissingError(
                f"namespace {self._keys.namespace} has no earlier release to go back to (active: {active}); "
                "see what is: python -m offline releases"
            )
        return parent

    def read_manifest(self, version: str) -> Manifest:
        """Manifest of a version.

        Raises:
            ReleaseMissingError: there is no such version.
            SignatureError: it is not signed as it must be.
            ValueError: the manifest cannot be read, or is that of another version.
        """
        manifest = Manifest.from_json(self.manifest_bytes(version), self._verification_keys)
        if manifest.version != version:
            raise ValueError(f"under {version} lies the manifest of {manifest.version}; publish the run again")
        return manifest

    def manifest_bytes(self, version: str) -> bytes:
        """Manifest of a version as it was written; nothing of it is checked.

        Raises:
            ReleaseMissingError: there is no such version.
        """
        raw: bytes | None = self._client.get(self._keys.release(version))
        if raw is None:
            raise ReleaseMissingError(
                f"release {version} is not in namespace {self._keys.namespace}; see what is: python -m offline releases"
            )
        return raw

    def read_array(self, manifest: Manifest, name: str) -> npt.NDArray[Any]:
        """One array of a release; see `read_named`."""
        return self.read_named(manifest, [name])[name]

    def read_arrays(self, manifest: Manifest, prefix: str) -> dict[str, npt.NDArray[Any]]:
        """All arrays whose name starts with a prefix, such as "trie."; see `read_named`."""
        return self.read_named(manifest, [name for name in manifest.arrays if name.startswith(prefix)])

    def read_named(self, manifest: Manifest, names: Iterable[str]) -> dict[str, npt.NDArray[Any]]:
        """Some arrays of a release together, which is faster than one by one; every byte is verified.

        Raises:
            CorruptBlobError: bytes are missing or wrong.
            BlobLocationError: the manifest names a place that is not allowed here.
            BlobsUnreachableError: the place cannot be read.
            ValueError: the release has no such array.
        """
        specs: dict[str, ArraySpec] = {}
        for name in names:
            if name not in manifest.arrays:
                raise ValueError(f"release {manifest.version} has no array {name}; publish the run again")
            specs[name] = manifest.arrays[name]
        return read_arrays(specs, self.blobs_at(manifest.blobs).read)

    def verify(self, version: str) -> None:
        """Read all of a release, so that no pointer is flipped to one that cannot be loaded.

        Raises:
            ReleaseMissingError: there is no such version.
            ValueError: its manifest or its bytes are not what they must be (also as from `read_named`).
        """
        manifest = self.read_manifest(version)
        verify_arrays(manifest.arrays, self.blobs_at(manifest.blobs).read)

    def write_arrays(
        self, arrays: Mapping[str, npt.NDArray[Any]], *, verified_in: Manifest | None = None
    ) -> dict[str, ArraySpec]:
        """Write what is not there yet, read everything back, and return what the manifest has to say of it.

        Args:
            arrays: by name.
            verified_in: a release of which the caller has just read all that these arrays share with it: chunks that
                lie in the same place are neither written nor read again.

        Raises:
            NoRoomError: it does not fit; nothing was written.
            CorruptBlobError: what was read back differs from what was written.
            BlobsUnreachableError: the place of the blobs cannot be used.
        """
        specs: dict[str, ArraySpec] = {}
        pieces: dict[ChunkAddress, memoryview] = {}
        for name, array in arrays.items():
            specs[name], cut = cut_array(array)
            pieces.update(zip(specs[name].addresses, cut, strict=True))
        lie_there = frozenset[ChunkAddress]()
        if verified_in is not None and verified_in.blobs == self.blobs:
            lie_there = frozenset(address for spec in verified_in.arrays.values() for address in spec.addresses)
        self.write_chunks(specs, lambda chunk: pieces[chunk.address], verified=lie_there)
        return specs

    def write_chunks(
        self,
        specs: Mapping[str, ArraySpec],
        piece_of: Callable[[Chunk], bytes | memoryview],
        *,
        verified: Collection[ChunkAddress] = (),
    ) -> Written:
        """Write the chunks that are not there yet or damaged, and read everything back.

        Args:
            specs: of the arrays.
            piece_of: gives the bytes of a chunk; called by several threads, only for chunks that must be written.
            verified: chunks that the caller has just read from here.

        Raises:
            NoRoomError: they do not fit; nothing was written.
            CorruptBlobError: what was read back differs from what was written.
            BlobsUnreachableError: the place of the blobs cannot be used.
        """
        chunks = {chunk.address: chunk for chunk in chunks_of(specs) if chunk.address not in verified}
        blobs = self._open(self.blobs)
        blobs.prepare({address: chunk.num_bytes for address, chunk in chunks.items()})
        written: list[int] = []

        def write(chunk: Chunk) -> None:
            try:
                chunk.verified(blobs.read(chunk.address))
            except CorruptBlobError:  # not there yet, or damaged since: publishing again is the cure
                blobs.write(chunk.address, memoryview(piece_of(chunk)))
                chunk.verified(blobs.read(chunk.address))
                written.append(chunk.num_bytes)

        in_parallel(write, chunks.values())
        return Written(len(written), sum(written))

    def read_chunk(self, manifest: Manifest, chunk: Chunk) -> bytes:
        """One chunk of a release, verified; as from `read_named`."""
        return chunk.verified(self.blobs_at(manifest.blobs).read(chunk.address))

    def write_manifest(self, manifest: Manifest) -> None:
        """Store a manifest under its version, signed where there is a key; a version is never overwritten.

        Raises:
            ValueError: the version exists already.
        """
        if self._signing_key is not None:
            manifest = manifest.signed(self._signing_key)
        self.write_manifest_bytes(manifest.version, manifest.to_json().encode())

    def write_manifest_bytes(self, version: str, raw: bytes) -> None:
        """The same with bytes that stay as they are, such as those that were signed elsewhere.

        Raises:
            ValueError: the version exists already.
        """
        if not self._client.set(self._keys.release(version), raw, nx=True):
            raise ValueError(f"release {version} exists already; a release is immutable, publish a new version")

    def remove_manifest(self, version: str) -> None:
        """Forget a version; its chunks stay, as others may share them (offline.retention)."""
        self._client.unlink(self._keys.release(version))

    def blobs_at(self, location: str) -> BlobStore:
        """The chunks of the namespace at a place, if it is one that this reader takes.

        Raises:
            BlobLocationError: it is not.
        """
        require_allowed(location, self.blobs)
        return self._open(location)

    def activate(self, version: str, arm: str = MAIN_ARM, share: float = 1.0) -> None:
        """Flip the pointer of an arm to a version and tell the services; the other arm keeps its version.

        Args:
            version: what the arm serves from now on.
            arm: "main" or "canary".
            share: of the users, for a canary.

        Raises:
            ReleaseMissingError: there is no such version, or no main release beside which it could be a canary.
            ValueError: the manifest or the share cannot be used. In every case the pointers stay.
        """
        self.read_manifest(version)
        if arm == MAIN_ARM:
            self.arms.set_main(version)
        else:
            self.arms.set_canary(version, share)

    def rollback(self, arm: str = MAIN_ARM, version: str = "") -> str:
        """Go back in one call: verify the target, then flip one pointer; gives the version that the arm's users get.

        Args:
            arm: the main arm goes back to the release that its own was published over; a canary is withdrawn.
            version: another target than that; a canary keeps its share.

        Raises:
            ReleaseMissingError: there is nothing to go back to.
            ValueError: the target cannot be used; the pointers stay.
        """
        if arm != MAIN_ARM:
            main, canary = self.arms.main(), self.arms.canary()
            if not version:
                self.arms.withdraw_canary()
                return main.version
            self.verify(version)
            return self.arms.set_canary(version, canary.share)
        target = version or self.parent_of_active()
        self.verify(target)
        return self.arms.set_main(target)

    def _open(self, location: str) -> BlobStore:
        if location not in self._stores:
            self._stores[location] = open_blobs(location, self._client, self._keys)
        return self._stores[location]
