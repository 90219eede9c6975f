"""The jobs about releases: publish, releases, promote, rollback. `offline.cli` puts them on the map."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import redis
import typer

from offline import progress
from offline.errors import BadInputError, JobError
from offline.options import ArmName, BlobsUrl, CanaryShare, Home, Namespace, RedisUrl, Run, SigningKeyFile
from offline.redis_connection import Lease, connect, job_lock, named_errors, namespace_keys
from offline.release_keys import signing_key
from service.contract.arms import CANARY_ARM, require_share
from service.contract.blob_folder import BlobsUnreachableError
from service.contract.blob_location import REDIS
from service.contract.blob_store import NoRoomError
from service.contract.redis_keys import MAIN_ARM, RedisKeys
from service.contract.redis_server import DEFAULT_HOME
from service.contract.release_store import ReleaseMissingError, ReleaseStore


def publish(
    run: Run,
    arm: ArmName = "main",
    share: CanaryShare = None,
    home: Home = DEFAULT_HOME,
    redis_url: RedisUrl = None,
    namespace: Namespace = "mmgrec",
    blobs_url: BlobsUrl = REDIS,
    signing_key_file: SigningKeyFile = None,
) -> None:
    """Publish a finished run as a release and activate it. Prints the version as JSON."""
    from offline.publish import publish as publish_run
    from offline.run_folder import RunFolder

    _check_arm(arm, share)
    folder = RunFolder(run)
    folder.require("metrics")
    with publishing(arm, share, home, redis_url, namespace, blobs_url, signing_key_file) as (store, lease):
        progress.result({"version": publish_run(folder, store, arm=arm, share=share or 0.0, before_flip=lease.require)})


def releases(
    context: typer.Context,
    home: Home = DEFAULT_HOME,
    redis_url: RedisUrl = None,
    namespace: Namespace = "mmgrec",
    blobs_url: BlobsUrl = REDIS,
) -> None:
    """List the releases of a namespace, newest last, and which arms serve which share of the users. Prints JSON.

    With a command: save, load, copy, verify or delete one.
    """
    if context.invoked_subcommand is not None:
        _require_no_flags(context)
        return
    keys = namespace_keys(namespace)
    with open_store(connect(redis_url, home), keys, blobs_url) as store:
        pointers = store.arms.all()
        main = pointers.get(MAIN_ARM)
        listed = [
            {**_describe(store, version), "active": main is not None and version == main.version}
            for version in store.versions()
        ]
        arms = {arm: pointer._asdict() for arm, pointer in pointers.items()}
    progress.result({"releases": listed, "arms": arms})


def promote(
    share: Annotated[
        float | None, typer.Option("--share", help="Only give the canary another share of the users, such as 0.5.")
    ] = None,
    home: Home = DEFAULT_HOME,
    redis_url: RedisUrl = None,
    namespace: Namespace = "mmgrec",
    blobs_url: BlobsUrl = REDIS,
) -> None:
    """Make the canary the main release, for all users. Prints the version as JSON."""
    _check_share(share)
    with changing_pointers(redis_url, home, namespace, blobs_url) as (store, lease):
        store.verify(store.arms.canary().version)
        lease.require()
        progress.result({"version": store.arms.promote() if share is None else store.arms.change_share(share)})


def rollback(
    version: Annotated[str, typer.Argument(help="Version to serve again; default: the parent of the active one.")] = "",
    arm: ArmName = "main",
    home: Home = DEFAULT_HOME,
    redis_url: RedisUrl = None,
    namespace: Namespace = "mmgrec",
    blobs_url: BlobsUrl = REDIS,
) -> None:
    """Serve an earlier release again, or withdraw a canary: one pointer, no data is written. Prints the version."""
    with changing_pointers(redis_url, home, namespace, blobs_url) as (store, _):
        progress.result({"version": store.rollback(arm, version)})


@contextmanager
def publishing(
    arm: ArmName,
    share: float | None,
    home: Path,
    redis_url: str | None,
    namespace: str,
    blobs_url: str,
    signing_key_file: Path | None,
) -> Iterator[tuple[ReleaseStore, Lease]]:
    """Where a new release goes, and the lock of whoever changes the releases of a namespace.

    Raises:
        LockedError: another job changes them.
        BadInputError: the share does not go with the arm, or there is no main release for a canary to stand beside.
        JobError: as from `open_store`.
    """
    _check_arm(arm, share)
    key = signing_key(signing_key_file)
    keys, client = namespace_keys(namespace), connect(redis_url, home)
    with open_store(client, keys, blobs_url, key) as store, job_lock(client, keys, "publish") as lease:
        if arm == CANARY_ARM:
            store.arms.main()  # before the work
        yield store, lease


@contextmanager
def changing_pointers(
    redis_url: str | None, home: Path, namespace: str, blobs_url: str
) -> Iterator[tuple[ReleaseStore, Lease]]:
    """The releases of a namespace, and the lock of whoever changes them.

    Raises:
        LockedError: another job changes them.
        BadInputError, JobError: as from `open_store`.
    """
    keys, client = namespace_keys(namespace), connect(redis_url, home)
    with open_store(client, keys, blobs_url) as store, job_lock(client, keys, "publish") as lease:
        yield store, lease


@contextmanager
def open_store(
    client: redis.Redis,
    keys: RedisKeys,
    blobs_url: str,
    key: bytes | None = None,
    verification_keys: Sequence[bytes] = (),
) -> Iterator[ReleaseStore]:
    """The releases of a namespace; what they refuse inside becomes an error of the job.

    Raises:
        BadInputError: what was asked for is not there or cannot be used.
        JobError: Redis or the place of the blobs does not do as asked.
    """
    with named_errors(keys):
        try:
            # Whoever signs starts from what is signed, too: else a forged release would get a true signature.
            accepted = verification_keys or (() if key is None else (key,))
            yield ReleaseStore(client, keys, blobs_url=blobs_url, signing_key=key, verification_keys=accepted)
        except (NoRoomError, BlobsUnreachableError) as error:
            raise JobError(str(error)) from error
        except BadInputError:
            raise
        except (ReleaseMissingError, ValueError) as error:
            raise BadInputError(str(error)) from error


def _require_no_flags(context: typer.Context) -> None:
    """Flags of the list before a command would be read and forgotten: `releases --namespace shop delete X`."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if given:
        flag = f"--{given[0].replace('_', '-')}"
        raise BadInputError(f"{flag} stands before {context.invoked_subcommand}; write it behind it")


def _check_arm(arm: str, share: float | None) -> None:
    """Refuse a share that does not go with its arm.

    Raises:
        BadInputError: a canary without a share, another arm with one, or a share that is none.
    """
    if arm == CANARY_ARM and share is None:
        raise BadInputError("--arm canary needs a --share of the users, such as 0.1")
    if arm != CANARY_ARM and share is not None:
        raise BadInputError("--share is for --arm canary; the main arm has what the canary leaves")
    _check_share(share)


def _check_share(share: float | None) -> None:
    if share is not None:
        try:
            require_share(share)
        except ValueError as error:
            raise BadInputError(f"--{error}") from error


def _describe(store: ReleaseStore, version: str) -> dict[str, Any]:
    """One line of the list of releases; one that this version cannot read is listed with what is wrong."""
    try:
        manifest = store.read_manifest(version)
    except ValueError as error:
        return {"version": version, "problem": str(error)}
    return {
        "version": version,
        "created": manifest.created,
        "dataset": manifest.dataset,
        "recall@20": manifest.metrics.get("recall@20"),
        "blobs": manifest.blobs,
        "signed": manifest.signature is not None,
    }
