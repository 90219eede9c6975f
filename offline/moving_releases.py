"""A release from one place to another: into a file, out of a file, from a staging Redis into that of production.

What arrives is what was published: every chunk is verified on its way, and the manifest's bytes, and with them its
signature, stay as they are. One field of it may have to change: where the chunks lie, since that is the target's own.
A signature covers that field too; so whoever moves a signed release to another place must hold a key and sign it.
"""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from offline.errors import BadInputError
from offline.release_archive import write_archive
from service.contract.arms import CANARY_ARM
from service.contract.blob_location import REDIS
from service.contract.blobs import Chunk, Written
from service.contract.manifest import Manifest
from service.contract.release_store import ReleaseMissingError, ReleaseStore
from service.contract.signatures import SignatureError, signature_of

OF_THE_TARGET = ("blobs", "signature")
"""Fields in which a release may differ from its copy elsewhere."""


class Keys(NamedTuple):
    """What a job that moves releases trusts and signs with.

    Attributes:
        signing: signs what is written; None leaves the manifest as it is.
        verification: one of these, or `signing`, must have signed what comes; without any key everything is taken.
    """

    signing: bytes | None
    verification: tuple[bytes, ...] = ()

    @property
    def trusted(self) -> Sequence[bytes]:
        """A job that signed what nobody vouches for would lend its name to whoever can write to the source."""
        return self.verification if self.signing is None else (*self.verification, self.signing)

    @property
    def of_target(self) -> Sequence[bytes]:
        """Of what stands in the target: signed with the key that this job would sign it with."""
        return self.verification if self.signing is None else (self.signing,)


class Arrived(NamedTuple):
    """How a release came to a store.

    Attributes:
        version: of it.
        written: chunks that were not there.
        was_there: this very release was there already; damaged chunks of it were mended.
        manifest: as it stands there now.
    """

    version: str
    written: Written
    was_there: bool
    manifest: Manifest


def resolve_version(store: ReleaseStore, version: str) -> str:
    """A version, or what an arm serves: "active" for the main arm, "canary" for that one.

    Raises:
        ReleaseMissingError: the arm serves nothing.
    """
    if version == CANARY_ARM:
        return store.arms.canary().version
    return store.arms.main().version if version == "active" else version


def save_release(store: ReleaseStore, version: str, path: Path) -> int:
    """Write a release into a file, whole or not at all; returns its bytes.

    Raises:
        ReleaseMissingError: there is no such version.
        ValueError: its manifest or its bytes are not what they must be.
        BlobsUnreachableError: its chunks cannot be read.
        JobError: the file cannot be written.
    """
    manifest = store.read_manifest(version)
    return write_archive(path, store.manifest_bytes(version), manifest, lambda chunk: store.read_chunk(manifest, chunk))


def receive_release(raw: bytes, read: Callable[[Chunk], bytes], target: ReleaseStore, keys: Keys) -> Arrived:
    """Write a release into a store: the chunks that are not there, all read back, then the manifest.

    Nobody serves it before a pointer is flipped. Killed on the way, it leaves chunks that no manifest names; the next
    time they are not sent again.

    Args:
        raw: bytes of the manifest.
        read: gives the verified bytes of a chunk; called by several threads.
        target: where to.
        keys: who must have signed it, and who signs it.

    Raises:
        BadInputError: it is not signed as it must be, cannot be moved to this place, or another release has its
            version; nothing was written.
        NoRoomError: it does not fit; nothing was written.
        ValueError: its manifest or a chunk is not what it must be; no manifest was written.
        BlobsUnreachableError: the place of the blobs cannot be used.
    """
    cure = "publish it signed (MMGREC_SIGNING_KEY), or add the key it is signed with to MMGREC_VERIFICATION_KEYS"
    manifest = _signed_by(keys.trusted, raw, cure)
    _require_name(manifest.version)
    ours = manifest_for(target.blobs, raw, keys)
    there = _manifest_there(target, manifest.version)
    if there is None:
        written = target.write_chunks(manifest.arrays, read)
        target.write_manifest_bytes(manifest.version, ours)
        return Arrived(manifest.version, written, False, Manifest.from_json(ours))
    _require_same(ours, there)
    cure = f"so it stands there already: remove it first (python -m offline releases delete {manifest.version})"
    kept = _signed_by(keys.of_target, there, cure)
    if kept.blobs != target.blobs:
        target.verify(manifest.version)
        return Arrived(manifest.version, Written(0, 0), True, kept)
    return Arrived(manifest.version, target.write_chunks(manifest.arrays, read), True, kept)


def manifest_for(place: str, raw: bytes, keys: Keys) -> bytes:
    """The manifest as it has to stand where its chunks lie at `place`: its own bytes, unless a field must change.

    Raises:
        BadInputError: it is signed, its place changes, and there is no key to sign it again.
    """
    manifest = json.loads(raw)
    moved = {**manifest, "blobs": place}
    stays = manifest.get("blobs", REDIS) == place
    if keys.signing is not None:
        moved["signature"] = signature_of(moved, keys.signing)
        return raw if stays and manifest.get("signature") == moved["signature"] else _as_json(moved)
    if stays:
        return raw
    if manifest.get("signature") is not None:
        raise BadInputError(
            f"release {manifest['version']} is signed with its blobs at {manifest.get('blobs', REDIS)}, and here they "
            f"would be at {place}, which its signature does not cover: give that place as the target's blobs URL, or "
            "the key to sign it again with (MMGREC_SIGNING_KEY or --signing-key-file)"
        )
    return _as_json(moved)


def _as_json(manifest: dict[str, Any]) -> bytes:
    return json.dumps(manifest, sort_keys=True).encode()


def _manifest_there(target: ReleaseStore, version: str) -> bytes | None:
    try:
        return target.manifest_bytes(version)
    except ReleaseMissingError:
        return None


def _require_same(ours: bytes, there: bytes) -> None:
    """A version is never overwritten; what is there already must be this very release."""
    if _alone(ours) != _alone(there):
        version = json.loads(ours)["version"]
        raise BadInputError(
            f"another release is there already under version {version}, and a release is immutable: remove it first "
            f"(python -m offline releases delete {version}), or take another --namespace"
        )


def _alone(raw: bytes) -> bytes:
    try:
        manifest = json.loads(raw)
    except (ValueError, RecursionError):
        return raw
    if not isinstance(manifest, dict):
        return raw
    return _as_json({name: value for name, value in manifest.items() if name not in OF_THE_TARGET})


def _signed_by(keys: Sequence[bytes], raw: bytes, cure: str) -> Manifest:
    try:
        return Manifest.from_json(raw, keys)
    except SignatureError as error:
        raise BadInputError(f"the release is not taken: {error.problem}; {cure}") from error


def _require_name(version: object) -> None:
    """A version becomes a part of keys and commands; one that came in a file may be anything."""
    if not isinstance(version, str) or not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", version):
        raise BadInputError(
            f"the release calls itself {version!r}, which is no version: letters, digits, '.', '_' and '-' only; "
            "publish it again where it comes from"
        )
