"""The jobs that remove releases: gc, releases delete. `offline.cli` puts them on the map."""

from contextlib import ExitStack
from typing import Annotated

import typer

from offline import progress
from offline.errors import BadInputError
from offline.moving_releases import resolve_version
from offline.options import BlobsUrl, Home, Namespace, RedisUrl
from offline.redis_connection import Lease, connect_other, job_lock, namespace_keys
from offline.release_jobs import changing_pointers, open_store
from offline.retention import Removal, SharedPlaces, outdated, plan_removal, remove, required
from service.contract.blob_location import REDIS
from service.contract.redis_server import DEFAULT_HOME
from service.contract.release_store import ReleaseMissingError, ReleaseStore

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")]
SharedWith = Annotated[
    list[str] | None,
    typer.Option(
        "--shared-with",
        envvar="MMGREC_SHARED_WITH",
        help="Another Redis whose releases of this namespace lie in the same folder or object store; may be repeated. "
        "All of them must be named before chunks are removed there.",
    ),
]
SoleUser = Annotated[
    bool, typer.Option("--sole-user", help="No other Redis keeps releases of this namespace in the same place.")
]
GraceHours = Annotated[
    float,
    typer.Option("--grace-hours", min=0, help="In a folder or object store, younger chunks stay.", metavar="<n>"),
]


def gc(
    keep: Annotated[
        int, typer.Option("--keep", min=1, metavar="<n>", help="Releases that stay, the newest, served or not.")
    ] = 5,
    dry_run: DryRun = False,
    shared_with: SharedWith = None,
    sole_user: SoleUser = False,
    grace_hours: GraceHours = 24.0,
    home: Home = DEFAULT_HOME,
    redis_url: RedisUrl = None,
    namespace: Namespace = "mmgrec",
    blobs_url: BlobsUrl = REDIS,
) -> None:
    """Remove old releases that nobody serves or would roll back to, and chunks without a release. Prints JSON."""
    with changing_pointers(redis_url, home, namespace, blobs_url) as (store, lease), ExitStack() as others:
        shared, leases = _shared(others, shared_with, sole_user, grace_hours, namespace, blobs_url)
        _remove(store, plan_removal(store, outdated(store, keep), shared), [lease, *leases], dry_run)


def delete(
    version: Annotated[
        str,
        typer.Argument(metavar="VERSION", help="Version that nobody serves; 'active' and 'canary' say why they stay."),
    ],
    dry_run: DryRun = False,
    shared_with: SharedWith = None,
    sole_user: SoleUser = False,
    grace_hours: GraceHours = 24.0,
    home: Home = DEFAULT_HOME,
    redis_url: RedisUrl = None,
    namespace: Namespace = "mmgrec",
    blobs_url: BlobsUrl = REDIS,
) -> None:
    """Remove one release, and chunks without a release. Prints JSON."""
    with changing_pointers(redis_url, home, namespace, blobs_url) as (store, lease), ExitStack() as others:
        version = resolve_version(store, version)
        if version not in store.versions():
            raise ReleaseMissingError(
                f"release {version} is not in namespace {namespace}; see what is: python -m offline releases"
            )
        if reason := required(store).get(version):
            raise BadInputError(
                f"release {version} stays: {reason}; publish another release, or roll back to another, first"
            )
        shared, leases = _shared(others, shared_with, sole_user, grace_hours, namespace, blobs_url)
        _remove(store, plan_removal(store, [version], shared), [lease, *leases], dry_run)


def _shared(
    opened: ExitStack,
    urls: list[str] | None,
    sole_user: bool,
    grace_hours: float,
    namespace: str,
    blobs_url: str,
) -> tuple[SharedPlaces, list[Lease]]:
    """What the flags say of others, and the locks that keep them from publishing meanwhile."""
    if urls and sole_user:
        raise BadInputError("--sole-user and --shared-with contradict each other; give one of them")
    keys, stores, leases = namespace_keys(namespace), list[ReleaseStore](), list[Lease]()
    for url in urls or ():
        client = connect_other(url, "--shared-with")
        stores.append(opened.enter_context(open_store(client, keys, blobs_url)))
        leases.append(opened.enter_context(job_lock(client, keys, "publish")))
    return SharedPlaces(stores, sole_user or bool(urls), grace_hours * 3600), leases


def _remove(store: ReleaseStore, removal: Removal, leases: list[Lease], dry_run: bool) -> None:
    def require_locks() -> None:
        for lease in leases:
            lease.require()

    if not dry_run:
        remove(store, removal, require_locks)
    if removal.not_swept:
        progress.say(
            f"chunks at {', '.join(removal.not_swept)} stay, as other Redis servers may use them: say who does, by "
            "--shared-with URL or --sole-user, with --blobs-url of that place"
        )
    progress.result(
        {
            "removed": removal.versions,
            "kept": [version for version in store.versions() if version not in removal.versions],
            "removed_chunks": sum(map(len, removal.blobs.values())),
            "freed_bytes": removal.num_bytes,
            "too_new_chunks": removal.too_new,
            "not_swept": removal.not_swept,
            "dry_run": dry_run,
        }
    )
