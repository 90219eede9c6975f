"""Two namespaces of one Redis, staging and production, and jobs on each."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.offline.releases.tiny_releases import Side


@pytest.fixture
def side(
    client: redis.Redis, redis_url: str, namespace: str, tmp_path: Path, job: Any
) -> Iterator[Callable[[str, str], Side]]:
    """`side("staging", "folder")`: a namespace of that name whose chunks lie in such a place."""

    def make(name: str, place: str = "redis") -> Side:
        if place == "memory":
            pytest.importorskip("fsspec")
        places = {"redis": "redis", "folder": str(tmp_path / f"blobs-{name}"), "memory": f"memory://{namespace}-{name}"}
        return Side(client, redis_url, f"{namespace}-{name}", places[place], job)

    return make


@pytest.fixture
def staging(side: Any) -> Side:
    return side("staging")


@pytest.fixture
def production(side: Any) -> Side:
    return side("production")
