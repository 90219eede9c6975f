"""How a release is laid into Redis and read back: written and verified under a new version, then one pointer flips.

Takes any client with the Redis commands below (redis-py's `Redis`), so that the contract itself needs no package.
"""

import json
from collections.abc import Mapping
from typing import Any, Protocol

import numpy.typing as npt

from service.contract.blobs import ArraySpec, chunk_addresses, cut_array, join_array
from service.contract.manifest import Manifest
from service.contract.redis_keys import MAIN_ARM, RedisKeys


class RedisClient(Protocol):
    """The few commands that a release needs; values are bytes (`decode_responses=False`)."""

    def get(self, name: str) -> Any: ...  # noqa: D102
    def set(self, name: str, value: Any, *, nx: bool = False) -> Any: ...  # noqa: D102
    def hget(self, name: str, key: str) -> Any: ...  # noqa: D102
    def hset(self, name: str, key: str, value: str) -> Any: ...  # noqa: D102
    def publish(self, channel: str, message: str) -> Any: ...  # noqa: D102
    def scan_iter(self, match: str) -> Any: ...  # noqa: D102


class ReleaseMissingError(LookupError):
    """No release is published, or the one asked for does not exist. The message says what to run."""


class ReleaseStore:
    """Releases of one namespace."""

    def __init__(self, client: RedisClient, keys: RedisKeys) -> None:
        self._client = client
        self._keys = keys

    def active_version(self, arm: str = MAIN_ARM) -> str | None:
        """Version that an arm serves, None when nothing is published."""
        raw = self._client.hget(self._keys.active, arm)
        return None if raw is None else str(json.loads(raw)["version"])

    def versions(self) -> list[str]:
        """All versions of the namespace, oldest first (a version begins with its time)."""
        prefix = self._keys.release("")
        keys = set(self._client.scan_iter(match=f"{prefix}*"))  # SCAN may repeat a key
        return sorted(bytes(key).decode()[len(prefix) :] for key in keys)

    def parent_of_active(self) -> str:
        """Version that the active release was published over.

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
            ValueError: the manifest cannot be read.
        """
        raw = self._client.get(self._keys.release(version))
        if raw is None:
            raise ReleaseMissingError(
                f"release {version} is not in namespace {self._keys.namespace}; see what is: python -m offline releases"
            )
        return Manifest.from_json(raw)

    def read_array(self, manifest: Manifest, name: str) -> npt.NDArray[Any]:
        """One array of a release, every byte verified.

        Raises:
            CorruptBlobError: bytes are missing or wrong.
            ValueError: the release has no such array.
        """
        spec = manifest.arrays.get(name)
        if spec is None:
            raise ValueError(f"release {manifest.version} has no array {name}; publish the run again")
        return join_array(name, spec, [self._client.get(self._keys.blob(*at)) for at in chunk_addresses(spec)])

    def read_arrays(self, manifest: Manifest, prefix: str) -> dict[str, npt.NDArray[Any]]:
        """All arrays whose name starts with a prefix, such as "trie."."""
        return {name: self.read_array(manifest, name) for name in manifest.arrays if name.startswith(prefix)}

    def write_arrays(self, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, ArraySpec]:
        """Write what is not there yet, read everything back, and return what the manifest has to say of it.

        Raises:
            CorruptBlobError: what was read back differs from what was written.
        """
        specs: dict[str, ArraySpec] = {}
        for name, array in arrays.items():
            spec, pieces = cut_array(array)
            for address, piece in zip(chunk_addresses(spec), pieces, strict=True):
                key = self._keys.blob(*address)
                if self._client.get(key) != piece:  # not there yet, or damaged since: publishing again is the cure
                    self._client.set(key, piece)
            join_array(name, spec, [self._client.get(self._keys.blob(*at)) for at in chunk_addresses(spec)])
            specs[name] = spec
        return specs

    def write_manifest(self, manifest: Manifest) -> None:
        """Store a manifest under its version; a version is never overwritten.

        Raises:
            ValueError: the version exists already.
        """
        if not self._client.set(self._keys.release(manifest.version), manifest.to_json(), nx=True):
            raise ValueError(
                f"release {manifest.version} exists already; a release is immutable, publish a new version"
            )

    def activate(self, version: str, arm: str = MAIN_ARM) -> None:
        """Flip the one pointer to a version and tell the services.

        Raises:
            ReleaseMissingError: there is no such version; the pointer stays.
        """
        self.read_manifest(version)
        self._client.hset(self._keys.active, arm, json.dumps({"version": version, "share": 1.0}))
        self._client.publish(self._keys.releases, version)
