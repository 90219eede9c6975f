"""Which releases stay, and the removal of the others: manifests first, then the chunks that no manifest names.

Whoever removes holds the namespace's `publish` lock, so no release of this namespace is half written meanwhile; killed
at any moment, what is left is whole releases and chunks that the next removal takes. Chunks in Redis belong to this
namespace alone. A folder or an object store may be shared by namespaces of the same name in other Redis servers, such
as staging and production: chunks there are removed only once the caller has said who else there is, and only such as
have been there for a while.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from offline.errors import BadInputError
from service.contract.arms import ArmPointer
from service.contract.blob_folder import StoredBlob
from service.contract.blob_location import REDIS, BlobLocationError
from service.contract.redis_keys import MAIN_ARM
from service.contract.release_store import ReleaseStore


class Removal(NamedTuple):
    """What is to be removed.

    Attributes:
        versions: their manifests, oldest first.
        blobs: place to chunks there that no other manifest names.
        too_new: chunks that no manifest names and that stay for now, as they have come only lately.
        not_swept: places where chunks stay because nobody has said who else uses them.
    """

    versions: list[str]
    blobs: dict[str, list[StoredBlob]]
    too_new: int
    not_swept: list[str]

    @property
    def num_bytes(self) -> int:
        """Of all chunks that it removes."""
        return sum(blob.num_bytes for blobs in self.blobs.values() for blob in blobs)


class SharedPlaces(NamedTuple):
    """What is known of the folders and object stores that hold the chunks.

    Attributes:
        others: the same namespace in other Redis servers, whose releases may lie in the same places.
        are_known: these are all of them; False keeps every chunk that is not in Redis.
        grace_seconds: chunks younger than this stay, for publishers that nobody has told us of.
    """

    others: Sequence[ReleaseStore] = ()
    are_known: bool = False
    grace_seconds: float = 24 * 3600.0


def outdated(store: ReleaseStore, keep: int) -> list[str]:
    """The versions that retention lets go: all but the newest `keep` and those that `required` names.

    Raises:
        BadInputError: as from `required`.
    """
    versions = store.versions()
    kept = {*versions[-keep:], *required(store)}
    return [version for version in versions if version not in kept]


def required(store: ReleaseStore) -> dict[str, str]:
    """The versions that must stay, and why: what an arm serves, and what one rollback would take it to.

    Raises:
        BadInputError: a pointer cannot be read, so nobody can say.
    """
    versions, reasons = store.versions(), dict[str, str]()
    for arm, text in store.arms.texts().items():
        try:
            served = ArmPointer.from_json(arm, text).version
        except ValueError as error:
            raise BadInputError(str(error)) from error
        reasons.setdefault(served, f"arm {arm} serves it")
        parent = _parsed(store, served).get("parent") if served in versions else None
        if arm == MAIN_ARM and parent not in versions:  # it was published elsewhere, over what is not here
            parent = max((version for version in versions if version < served), default=None)
        if isinstance(parent, str):
            reasons.setdefault(parent, f"a rollback of arm {arm} goes there")
    return reasons


def plan_removal(store: ReleaseStore, versions: Sequence[str], shared: SharedPlaces) -> Removal:
    """What goes with some versions: every chunk that no manifest names any more. Removes nothing.

    Raises:
        BadInputError: a manifest that stays cannot be read, so nobody knows which chunks it needs.
        BlobsUnreachableError: a place cannot be read.
    """
    named, places = _named_chunks(store, versions, shared.others)
    blobs, not_swept, too_new = dict[str, list[StoredBlob]](), list[str](), 0
    for place in sorted(places):
        try:
            there = store.blobs_at(place) if place == REDIS or shared.are_known else None
        except BlobLocationError:  # not below this job's --blobs-url
            there = None
        if there is None:
            not_swept.append(place)
            continue
        unnamed = [blob for blob in there.stored() if blob.sha256 not in named[place == REDIS]]
        blobs[place] = [blob for blob in unnamed if blob.age_seconds >= shared.grace_seconds]
        too_new += len(unnamed) - len(blobs[place])
    return Removal(list(versions), blobs, too_new, not_swept)


def _named_chunks(
    store: ReleaseStore, going: Sequence[str], others: Sequence[ReleaseStore]
) -> tuple[dict[bool, set[str]], set[str]]:
    """Chunks that remaining manifests name, by whether that is in this Redis; and all places of this store.

    Outside of Redis a chunk that is named anywhere stays everywhere, since two URLs may lead to the same folder.
    """
    named, places = {True: set[str](), False: set[str]()}, {REDIS, store.blobs}
    for version in store.versions():
        if version in going:
            with suppress(BadInputError):  # nobody needs to know what it held
                places.add(_place_and_chunks(store, version)[0])
        else:
            place, chunks = _place_and_chunks(store, version)
            places.add(place)
            named[place == REDIS] |= chunks
    for other in others:
        for version in other.versions():
            place, chunks = _place_and_chunks(other, version)
            if place != REDIS:  # its own, not this one
                named[False] |= chunks
    return named, places


def remove(store: ReleaseStore, removal: Removal, before_each: Callable[[], None]) -> None:
    """Do it: first the manifests, then the chunks.

    Args:
        store: of the namespace.
        removal: planned under the same lock.
        before_each: called before everything that is removed; raises when a lock was lost.

    Raises:
        BlobsUnreachableError: a place cannot be written; what is left is removed the next time.
    """
    for version in removal.versions:
        before_each()
        store.remove_manifest(version)
    for place, blobs in removal.blobs.items():
        there = store.blobs_at(place)
        for blob in blobs:
            before_each()
            there.remove(blob)


def _place_and_chunks(store: ReleaseStore, version: str) -> tuple[str, set[str]]:
    """Where the chunks of a release lie, and their sha256; of any format, also of one that is read no more."""
    raw = _parsed(store, version)
    try:
        chunks = {str(sha256) for spec in raw["arrays"].values() for sha256 in spec["chunks"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise _unreadable(version) from error
    return str(raw.get("blobs", REDIS)), chunks


def _parsed(store: ReleaseStore, version: str) -> dict[str, Any]:
    try:
        raw = json.loads(store.manifest_bytes(version))
    except (ValueError, RecursionError) as error:
        raise _unreadable(version) from error
    if not isinstance(raw, dict):
        raise _unreadable(version)
    return raw


def _unreadable(version: str) -> BadInputError:
    return BadInputError(
        f"the manifest of release {version} cannot be read, so nobody knows which chunks it needs, and nothing was "
        f"removed: remove it first (python -m offline releases delete {version}), or publish again if it is served"
    )
