"""The `report` job; `offline.cli` puts it on the map."""

from pathlib import Path
from typing import Annotated

import typer

from offline import progress
from offline.errors import BadInputError
from offline.options import BlobsUrl, Home, Namespace, RedisUrl, Run
from offline.redis_connection import connect, namespace_keys
from offline.release_jobs import open_store
from service.contract.blob_location import REDIS
from service.contract.redis_server import DEFAULT_HOME

ACTIVE = "active"


def report(
    run: Run,
    baselines: Annotated[
        Path | None,
        typer.Option("--baselines", help="What `baselines --json FILE` wrote for the same data, to stand beside."),
    ] = None,
    served: Annotated[
        str | None,
        typer.Option("--served", help="Release to compare with: its version, or 'active' for what is served now."),
    ] = None,
    home: Home = DEFAULT_HOME,
    redis_url: RedisUrl = None,
    namespace: Namespace = "mmgrec",
    blobs_url: BlobsUrl = REDIS,
) -> None:
    """Write report.html of a finished run, one file with plots. Prints its path as JSON."""
    from offline.reporting import Served, write_report
    from offline.run_folder import RunFolder

    folder, release = RunFolder(run), None
    folder.require("metrics")
    if served is not None:
        keys, client = namespace_keys(namespace), connect(redis_url, home)
        with open_store(client, keys, blobs_url) as store:
            version = store.active_version() if served == ACTIVE else served
            if version is None:
                raise BadInputError(f"--served active: namespace {namespace} serves nothing yet; publish a run first")
            release = Served.from_store(store, version)
    with folder.locked():
        progress.result({"report": str(write_report(folder, baselines=baselines, served=release))})
