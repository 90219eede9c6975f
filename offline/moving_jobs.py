"""The jobs that move releases: releases save, load, copy, verify. `offline.cli` puts them on the map."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import redis
import typer

from offline import progress
from offline.errors import BadInputError
from offline.moving_releases import Arrived, Keys, receive_release, resolve_version, save_release
from offline.options import BlobsUrl, Home, Namespace, RedisUrl, SigningKeyFile, VerificationKeysFile
from offline.output_files import require_writable
from offline.redis_connection import Lease, connect, connect_other, job_lock, namespace_keys
from offline.release_archive import ReleaseArchive
from offline.release_jobs import open_store
from offline.release_keys import signing_key, verification_keys
from service.contract.blob_location import REDIS
from service.contract.redis_keys import RedisKeys
from service.contract.redis_server import DEFAULT_HOME
from service.contract.release_store import ReleaseStore

Version = Annotated[str, typer.Argument(metavar="VERSION", help="Version, or 'active' or 'canary'.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="File of one release.")]
Activate = Annotated[bool, typer.Option("--activate", help="Let the main arm serve it once it is whole.")]


def save(
    version: Version,
    file: File,
    home: Home = DEFAULT_HOME,
    redis_url: RedisUrl = None,
    namespace: Namespace = "mmgrec",
    blobs_url: BlobsUrl = REDIS,
    verification_keys_file: VerificationKeysFile = None,
) -> None:
    """Write a release into one file, every chunk verified. Prints version and bytes as JSON."""
    keys = verification_keys(verification_keys_file)
    require_writable(file, "FILE", "a file for the release")
    with open_store(connect(redis_url, home), namespace_keys(namespace), blobs_url, None, keys) as store:
        found = resolve_version(store, version)
        progress.result({"version": found, "file": str(file), "bytes": save_release(store, found, file)})


def load(
    file: File,
    activate: Activate = False,
    home: Home = DEFAULT_HOME,
    redis_url: RedisUrl = None,
    namespace: Namespace = "mmgrec",
    blobs_url: BlobsUrl = REDIS,
    signing_key_file: SigningKeyFile = None,
    verification_keys_file: VerificationKeysFile = None,
) -> None:
    """Take the release of a file, every chunk verified; nobody serves it yet without --activate. Prints JSON."""
    keys = Keys(signing_key(signing_key_file), verification_keys(verification_keys_file))
    names = namespace_keys(namespace)
    with _opened(file) as archive, _receiving(connect(redis_url, home), names, blobs_url) as (store, lease):
        arrived = receive_release(archive.raw, archive.read, store, keys)
        progress.result(_arrival(arrived, store, lease, activate))


def copy(
    version: Version,
    to: Annotated[
        str, typer.Option("--to", envvar="MMGREC_TO_REDIS_URL", help="Redis that it goes to, such as production's.")
    ],
    to_namespace: Annotated[
        str | None, typer.Option("--to-namespace", help="Namespace there; default: that of --namespace.")
    ] = None,
    to_blobs_url: Annotated[
        str, typer.Option("--to-blobs-url", help="Where its chunks are to lie there: redis, a folder, or a URL.")
    ] = REDIS,
    activate: Activate = False,
    home: Home = DEFAULT_HOME,
    redis_url: RedisUrl = None,
    namespace: Namespace = "mmgrec",
    blobs_url: BlobsUrl = REDIS,
    signing_key_file: SigningKeyFile = None,
    verification_keys_file: VerificationKeysFile = None,
) -> None:
    """Copy a release into another Redis, every chunk verified; what is there already is not sent. Prints JSON."""
    keys = Keys(signing_key(signing_key_file), verification_keys(verification_keys_file))
    names, names_there = namespace_keys(namespace), namespace_keys(to_namespace or namespace)
    with open_store(connect(redis_url, home), names, blobs_url) as source:
        found = resolve_version(source, version)
        manifest = source.read_manifest(found)
        with _receiving(connect_other(to, "--to"), names_there, to_blobs_url) as (store, lease):
            arrived = receive_release(
                source.manifest_bytes(found), lambda chunk: source.read_chunk(manifest, chunk), store, keys
            )
            progress.result(_arrival(arrived, store, lease, activate))


def verify(
    version: Version = "active",
    home: Home = DEFAULT_HOME,
    redis_url: RedisUrl = None,
    namespace: Namespace = "mmgrec",
    blobs_url: BlobsUrl = REDIS,
    verification_keys_file: VerificationKeysFile = None,
) -> None:
    """Read every byte of a release, and check its signature where there are keys. Prints JSON."""
    keys = verification_keys(verification_keys_file)
    with open_store(connect(redis_url, home), namespace_keys(namespace), blobs_url, None, keys) as store:
        found = resolve_version(store, version)
        store.verify(found)
        progress.result({"version": found, "whole": True, "signature_checked": bool(keys)})


@contextmanager
def _opened(file: Path) -> Iterator[ReleaseArchive]:
    if file.exists() and not file.is_file():
        raise BadInputError(f"{file} is no file; give one that `python -m offline releases save` wrote")
    try:
        opened = file.open("rb")
    except OSError as error:
        raise BadInputError(f"{file} cannot be read ({error.strerror}); correct the path") from error
    with opened:
        archive = ReleaseArchive(file, opened)
        archive.verify()
        yield archive


@contextmanager
def _receiving(client: redis.Redis, keys: RedisKeys, blobs_url: str) -> Iterator[tuple[ReleaseStore, Lease]]:
    """A store that takes a release, and the lock that keeps others from removing its chunks meanwhile."""
    with open_store(client, keys, blobs_url) as store, job_lock(client, keys, "publish") as lease:
        yield store, lease


def _arrival(arrived: Arrived, store: ReleaseStore, lease: Lease, activate: bool) -> dict[str, Any]:
    """The result of a job, after the flip that it may end with."""
    before = store.arms.all().get("main")
    if activate:
        lease.require()
        store.activate(arrived.version)
    return {
        "version": arrived.version,
        "was_there": arrived.was_there,
        "sent_chunks": arrived.written.chunks,
        "sent_bytes": arrived.written.num_bytes,
        "blobs": arrived.manifest.blobs,
        "signed": arrived.manifest.signature is not None,
        "activated": activate,
        "active_before": before.version if before else None,
    }
