"""The jobs about retraining: retrain, forget. `offline.cli` puts them on the map."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from offline import progress
from offline.errors import BadInputError, GateRefusedError, JobError
from offline.options import BlobsUrl, Data, Home, Namespace, RecipeName, RedisUrl, Seed, SigningKeyFile, TrainingDevice
from offline.redis_connection import connect, job_lock, named_errors, namespace_keys
from offline.release_keys import signing_key
from service.contract.arms import require_share
from service.contract.blob_folder import BlobsUnreachableError
from service.contract.blob_location import REDIS, BlobLocationError
from service.contract.blob_store import NoRoomError
from service.contract.item_table import MAX_ID_LENGTH
from service.contract.redis_server import DEFAULT_HOME
from service.contract.release_store import ReleaseMissingError, ReleaseStore

JOB = "retrain"


def retrain(
    data: Data,
    runs: Annotated[Path, typer.Option("--runs", help="Folder of run folders; each run makes its own in it.")],
    recipe: RecipeName = "standard",
    seed: Seed = 0,
    tolerance: Annotated[
        float,
        typer.Option("--tolerance", min=0, max=1, help="Share of the served recall and NDCG that may be lost."),
    ] = 0.02,
    latency_budget_ms: Annotated[
        float | None, typer.Option("--latency-budget-ms", help="Most that the median answer may take.")
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Publish in spite of the gate, but for illegal answers; the release says so."),
    ] = False,
    canary: Annotated[
        float | None, typer.Option("--canary", metavar="<share>", help="Publish to a share of the users, such as 0.1.")
    ] = None,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Do not start from the run that is served.")
    ] = False,
    device: TrainingDevice = "auto",
    home: Home = DEFAULT_HOME,
    redis_url: RedisUrl = None,
    namespace: Namespace = "mmgrec",
    blobs_url: BlobsUrl = REDIS,
    signing_key_file: SigningKeyFile = None,
) -> None:
    """Archive events, train on all, judge beside the served release, publish. Resumes; prints a summary as JSON."""
    from offline.processes import alone
    from offline.retraining.context import Options
    from offline.retraining.judging import Limits
    from offline.retraining.plan import Choices
    from offline.retraining.retrain import retrain as retrain_all

    _check(canary, latency_budget_ms, runs)
    keys = namespace_keys(namespace)
    options = Options(
        choices=Choices(
            data=data, namespace=keys.namespace, runs=runs, recipe=recipe, seed=seed, from_scratch=from_scratch
        ),
        limits=Limits(tolerance=tolerance, latency_budget_ms=latency_budget_ms),
        force=force,
        canary=canary,
    )
    key = signing_key(signing_key_file)
    client = connect(redis_url, home)
    with alone(device), named_errors(keys), _named_store_errors(), job_lock(client, keys, JOB) as lease:
        store = ReleaseStore(client, keys, blobs_url=blobs_url, signing_key=key)
        summary = retrain_all(options, client, keys, store, lease.require)
    progress.result(summary)
    if summary["result"] == "refused":
        reasons = "; ".join(reason["text"] for reason in summary["gate"]["reasons"])
        raise GateRefusedError(
            f"the gate refused {summary['run']}: {reasons}. The served release stays; see gate.json there"
        )


def forget(
    data: Data,
    user: Annotated[list[str], typer.Option("--user", help="Id of a user; may be given several times.")],
    namespace: Namespace = "mmgrec",
) -> None:
    """Remove users from the event archive, and leave their past out of every later snapshot. Prints JSON.

    For users of the service, DELETE /users/{id}/history does this and forgets the stored history as well.
    """
    from offline.dataset_checks import require_folder
    from offline.retraining.event_archive import EventArchive
    from offline.retraining.event_streams import EntryId
    from offline.retraining.forgotten import remember_forgotten, remove_forgotten

    wrong = [name for name in user if not 0 < len(name) <= MAX_ID_LENGTH]
    if wrong:
        raise BadInputError(f"--user {wrong[0][:20]!r} is no user id; give 1 to {MAX_ID_LENGTH} characters")
    require_folder(data)
    archive = EventArchive(data, namespace_keys(namespace).namespace)
    now = EntryId(time.time_ns() // 1_000_000, 0)
    with _named_store_errors(), archive.locked():
        remember_forgotten(archive.folder, dict.fromkeys(user, now))
        progress.result({"users": len(set(user)), "removed": remove_forgotten(archive)})


def _check(canary: float | None, latency_budget_ms: float | None, runs: Path) -> None:
    there = next(folder for folder in (runs, *runs.parents) if folder.exists() or folder.is_symlink())
    if not there.is_dir():
        raise BadInputError(f"--runs {runs}: {there} is not a folder; give another --runs, of a folder or of a new one")
    if canary is not None:
        try:
            require_share(canary)
        except ValueError as error:
            raise BadInputError(f"--canary {canary:g} must be above 0 and below 1, such as 0.1") from error
    if latency_budget_ms is not None and not latency_budget_ms > 0:
        raise BadInputError(f"--latency-budget-ms {latency_budget_ms} must be above 0, such as 20")


@contextmanager
def _named_store_errors() -> Iterator[None]:
    """What disk and store refuse inside becomes one line.

    Raises:
        BadInputError: what was asked for is not there.
        JobError: the disk, or the place of the blobs, does not do as asked.
    """
    import polars as pl
    from safetensors import SafetensorError

    try:
        yield
    except (NoRoomError, BlobsUnreachableError) as error:
        raise JobError(str(error)) from error
    except (ReleaseMissingError, BlobLocationError) as error:
        raise BadInputError(str(error)) from error
    except (OSError, SafetensorError, pl.exceptions.PolarsError) as error:
        raise JobError(
            f"a file cannot be read or written ({error}); the served release stays. Make room, or mend the disk, and "
            "start the job again: it goes on where it stopped"
        ) from error
