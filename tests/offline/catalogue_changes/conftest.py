"""The trained checkerboard as the served release, and folders of items that it does not have."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import redis

from offline.catalogue_changes.base_release import BaseRelease, open_base
from offline.catalogue_changes.successor import Target
from offline.publish import publish
from offline.run_folder import RunFolder
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore

DIMS = {"image": 6, "text": 4}


def write_new_items(folder: Path, *tastes: str, first: int = 0, **changes: Any) -> Path:
    """Items `new-0`, ... of the tastes "even", "odd" or "" (no content), features as the checkerboard has them."""
    (folder / "features").mkdir(parents=True)
    sign = np.array([{"even": 1.0, "odd": -1.0, "": np.nan}[taste] for taste in tastes])[:, None]
    for modality, dim in DIMS.items():
        values = changes.get(modality, (sign * np.ones((len(tastes), dim))).astype(np.float32))
        if values is not None:
            np.save(folder / "features" / f"{modality}.npy", values)
    items = {
        "item_id": changes.get("ids", [f"new-{row}" for row in range(first, first + len(tastes))]),
        "title": [f"A new {taste} thing" for taste in tastes],
        "categories": [[taste, "new"] for taste in tastes],
    }
    pl.DataFrame(items).write_parquet(folder / "items.parquet")
    return folder


@pytest.fixture(scope="session")
def new_items() -> Callable[..., Path]:
    return write_new_items


@pytest.fixture
def target(store: ReleaseStore) -> Target:
    return Target(store=store)


@pytest.fixture
def served(run: RunFolder, store: ReleaseStore) -> str:
    """Version of the checkerboard's release, which the main arm serves."""
    return publish(run, store)


@pytest.fixture
def base(served: str, store: ReleaseStore) -> BaseRelease:
    return open_base(store)


@pytest.fixture
def everything(client: redis.Redis, keys: RedisKeys) -> Callable[[], dict[bytes, Any]]:
    """All keys of the namespace and what they hold, to see that nothing has changed."""

    def read() -> dict[bytes, Any]:
        return {key: client.dump(key) for key in client.scan_iter(match=f"{keys.namespace}:*")}

    return read
