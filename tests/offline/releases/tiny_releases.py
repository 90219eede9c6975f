"""Releases that cost nothing to publish: a made one of few numbers, and the newest frozen one, which really answers."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import redis

from service.constraints import ItemFilter
from service.contract.manifest import Manifest, ModelSettings
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore
from service.releases.release import load_release
from service.settings import Settings

CHUNK_BYTES = 4096
"""Bytes of a chunk where a test wants several of them."""

OWN_BYTES = 3 * CHUNK_BYTES
"""Of what each tiny release has for itself alone."""

FIXTURES = Path(__file__).parents[2] / "fixtures"
FROZEN = max(FIXTURES.glob("release-format-*"), key=lambda folder: int(folder.name.rpartition("-")[2]))
MODEL = ModelSettings(
    codebook_sizes=(3, 2),
    popularity_size=4,
    max_history=6,
    vector_dim=2,
    beam_widths=(10,),
    dense_weight=1.0,
    ordered_history=True,
)
KEY, OTHER_KEY = "the-key-of-staging", "the-key-of-production"


def tiny_arrays(number: int) -> dict[str, npt.NDArray[Any]]:
    """In chunks of 4096 bytes: three that all numbers share, and one, three times over, that only this number has."""
    return {
        "shared": np.arange(3000, dtype=np.int32),
        "own": np.full(3 * CHUNK_BYTES // 4, number, np.int32),
        "empty": np.zeros((0, 2), np.float32),
    }


def write_tiny(store: ReleaseStore, version: str, number: int = 0, parent: str | None = None) -> Manifest:
    """Write a release that no pointer names yet."""
    manifest = Manifest(
        version=version,
        created="2026-11-28T00:00:00Z",
        parent=parent,
        dataset="made",
        model=MODEL,
        arrays=store.write_arrays(tiny_arrays(number)),
        metrics={"recall@20": 0.5, "odd": float("nan")},
        gate={"passed": True},
        blobs=store.blobs,
    )
    store.write_manifest(manifest)
    return manifest


def put_frozen(store: ReleaseStore) -> str:
    """Publish the frozen release at the store's own place and let the main arm serve it; gives its version."""
    raw = json.loads((FROZEN / "manifest.json").read_bytes())
    manifest = Manifest.from_json(json.dumps({**raw, "blobs": store.blobs}))
    store.write_chunks(
        manifest.arrays, lambda chunk: (FROZEN / "blobs" / "-".join(map(str, chunk.address))).read_bytes()
    )
    store.write_manifest(manifest)
    store.activate(manifest.version)
    return manifest.version


def answers(store: ReleaseStore, version: str, namespace: str) -> list[list[Any]]:
    """What the service's decoder answers from a release to a few histories: item ids and scores."""
    release = load_release(store, version, Settings(namespace=namespace))
    histories = [np.array(rows, np.int64) for rows in ([], [4], [1, 3, 5, 7])]
    decoded = release.decoder.decode(histories, [ItemFilter()] * 3, beam_width=10)
    rows = release.trie.leaf_to_row[decoded.leaves]
    return [
        [[release.items.item_ids[row] for row in each], scores.tolist()]
        for each, scores in zip(rows, decoded.score, strict=True)
    ]


def chunk_keys(client: redis.Redis, keys: RedisKeys) -> set[str]:
    return {key.decode() for key in client.scan_iter(match=keys.blob("*", "*"))}


Call = Callable[..., Any]


def refusal(ended: Any) -> str:
    """What a job says when it ends for bad input: one line."""
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1), ended
    return str(ended.err).removeprefix("error: ").rstrip()


class Side:
    """A namespace, the place of its chunks, and jobs on it."""

    def __init__(self, client: redis.Redis, url: str, namespace: str, blobs_url: str, job: Any) -> None:
        self.client, self.url, self.namespace, self.blobs_url, self.job = client, url, namespace, blobs_url, job
        self.keys = RedisKeys(namespace)

    @property
    def store(self) -> ReleaseStore:
        return ReleaseStore(self.client, self.keys, blobs_url=self.blobs_url)

    def signing(self, key: str) -> ReleaseStore:
        return ReleaseStore(self.client, self.keys, blobs_url=self.blobs_url, signing_key=key.encode())

    def strict(self, key: str) -> ReleaseStore:
        return ReleaseStore(self.client, self.keys, blobs_url=self.blobs_url, verification_keys=[key.encode()])

    @property
    def flags(self) -> tuple[str, ...]:
        return ("--redis-url", self.url, "--namespace", self.namespace, "--blobs-url", self.blobs_url)

    def call(self, *arguments: object) -> Any:
        return self.job("releases", *arguments, *self.flags)

    def at(self, blobs_url: str) -> "Side":
        return Side(self.client, self.url, self.namespace, blobs_url, self.job)


def moved(staging: Side, production: Side, file: Path, *flags: object) -> list[Any]:
    """Both ways from staging to production."""
    there = ("--to", production.url, "--to-namespace", production.namespace, "--to-blobs-url", production.blobs_url)
    return [production.call("load", file, *flags), staging.call("copy", "v1", *there, *flags)]


def gc(side: Side, *flags: object) -> Any:
    return side.job("gc", *side.flags, *flags)


def chain(side: Side, num: int, first: int = 1) -> list[str]:
    """Releases v1, v2, ..., each published over the one before; the last is served."""
    versions = [f"v{number}" for number in range(first, first + num)]
    for at, version in enumerate(versions):
        write_tiny(side.store, version, first + at, versions[at - 1] if at else None)
    side.store.activate(versions[-1])
    return versions


def make_old(folder: Path) -> None:
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - 48 * 3600.0,) * 2)


def require_whole(side: Side) -> None:
    for version in side.store.versions():
        side.store.verify(version)
