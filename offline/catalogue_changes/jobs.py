"""The jobs `add-items` and `remove-items`; `offline.cli` puts them on the map."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from offline import progress
from offline.errors import BadInputError
from offline.options import ArmName, BlobsUrl, CanaryShare, Data, Home, Namespace, RedisUrl, SigningKeyFile
from offline.release_jobs import publishing
from service.contract.blob_location import REDIS
from service.contract.redis_server import DEFAULT_HOME

if TYPE_CHECKING:
    from offline.catalogue_changes.successor import Target

Base = Annotated[
    str, typer.Option("--version", help="Release to start from; default: the one that the main arm serves.")
]


def add_items(
    data: Data,
    interactions: Annotated[
        bool, typer.Option("--interactions", help="Also look at who had the new items, in interactions.parquet.")
    ] = False,
    version: Base = "",
    arm: ArmName = "main",
    share: CanaryShare = None,
    home: Home = DEFAULT_HOME,
    redis_url: RedisUrl = None,
    namespace: Namespace = "mmgrec",
    blobs_url: BlobsUrl = REDIS,
    signing_key_file: SigningKeyFile = None,
) -> None:
    """Add the items of a folder that the served release does not have, without training. Prints JSON."""
    from offline.catalogue_changes.add_items import add_items as add_all

    with _target(arm, share, home, redis_url, namespace, blobs_url, signing_key_file) as target:
        progress.result(add_all(data, target, version=version, interactions=interactions))


def remove_items(
    item: Annotated[list[str] | None, typer.Option("--item", help="Id of an item to remove; may be repeated.")] = None,
    items: Annotated[
        Path | None,
        typer.Option("--items", help="File of item ids: one a line, or CSV or Parquet with a column item_id."),
    ] = None,
    version: Base = "",
    arm: ArmName = "main",
    share: CanaryShare = None,
    home: Home = DEFAULT_HOME,
    redis_url: RedisUrl = None,
    namespace: Namespace = "mmgrec",
    blobs_url: BlobsUrl = REDIS,
    signing_key_file: SigningKeyFile = None,
) -> None:
    """Remove items from the served release; a rollback brings them back. Prints JSON."""
    from offline.catalogue_changes.remove_items import read_item_ids
    from offline.catalogue_changes.remove_items import remove_items as remove_all

    if (item is None) == (items is None):
        raise BadInputError("give either --item ID, as often as needed, or --items FILE")
    item_ids = item if items is None else read_item_ids(items)
    with _target(arm, share, home, redis_url, namespace, blobs_url, signing_key_file) as target:
        progress.result(remove_all(item_ids or [], target, version=version))


@contextmanager
def _target(
    arm: ArmName,
    share: float | None,
    home: Path,
    redis_url: str | None,
    namespace: str,
    blobs_url: str,
    signing_key_file: Path | None,
) -> Iterator["Target"]:
    """The same for a changed release; see `publishing`."""
    from offline.catalogue_changes.successor import Target

    with publishing(arm, share, home, redis_url, namespace, blobs_url, signing_key_file) as (store, lease):
        yield Target(store=store, arm=arm, share=share or 1.0, before_flip=lease.require)
