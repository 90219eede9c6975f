"""Real training, really killed: at every boundary, one after the other, and it ends as if nothing had happened."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import redis

from offline.run_folder import RunFolder
from service.contract.event_stream import Forgotten
from service.contract.redis_keys import RedisKeys, event_partition
from service.contract.release_store import ReleaseStore
from tests.offline.conftest import SIZE, item_id, user_id, write_checkerboard
from tests.offline.retraining.conftest import NOW, event

ROOT = Path(__file__).parents[3]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("MMGREC_")}
KILLS = [
    *(["write", number, before] for number in range(1, 5) for before in (True, False)),
    *(["step", name, before] for name in ("archive", "snapshot", "start") for before in (True, False)),
    *(["stage", name, before] for name in ("graph", "rec_ids", "generator") for before in (True, False)),
    *(["stage", name, False] for name in ("decoder", "metrics")),
    *(["step", name, before] for name in ("train", "compare", "report", "publish", "trim") for before in (True, False)),
]


def write_world(folder: Path) -> Path:
    """The checkerboard with times: everybody went through their items in the order of rows."""
    data = write_checkerboard(folder)
    path = data / "interactions.parquet"
    table = pl.read_parquet(path)
    table.with_columns(timestamp=NOW - 1_000_000 + pl.int_range(pl.len())).write_parquet(path)
    return data


def fill_streams(client: redis.Redis, keys: RedisKeys) -> None:
    """Withheld items, a copy, an item that nobody knows and somebody who is forgotten; ids as if of one clock."""
    entries: list[Any] = [event(item_id(row), user=user_id(row), time=NOW + row, event_id="e") for row in range(SIZE)]
    entries += [entries[0], event("unknown-item", user=user_id(1)), Forgotten(user_id(59), NOW)]
    for at, entry in enumerate(entries):
        name = keys.events(event_partition(entry.user_id, 2))
        client.xadd(name, dict(entry.fields()), id=f"{NOW + 1000}-{at + 1}")


class World:
    """One shop that retrains once."""

    def __init__(self, folder: Path, url: str, namespace: str, kills: list[Any]) -> None:
        self.data, self.runs, self.keys = write_world(folder / "shop"), folder / "runs", RedisKeys(namespace)
        with redis.Redis.from_url(url) as client:
            fill_streams(client, self.keys)
        arguments = ["retrain", "--data", str(self.data), "--runs", str(self.runs), "--recipe", "tiny"]
        arguments += ["--redis-url", url, "--namespace", namespace]
        program = [sys.executable, "-m", "tests.offline.retraining.chain_of_kills", json.dumps(kills), *arguments]
        done = subprocess.run(program, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert "\nENDS " in done.stderr, done.stderr
        self.ends: list[int] = json.loads(done.stderr.rpartition("\nENDS ")[2])
        self.said = done.stderr
        assert self.ends[-1] == 0, done.stderr
        self.summary = json.loads(done.stdout.splitlines()[-1])

    @property
    def run(self) -> RunFolder:
        return RunFolder(Path(self.summary["run"]))

    def bytes_of(self, name: str) -> bytes:
        return (self.run.folder / name).read_bytes()


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> tuple[World, World]:
    """One that was left in peace, and one that was killed all the time."""
    folder = tmp_path_factory.mktemp("worlds")
    return (
        World(folder / "peaceful", redis_url, "test-peaceful", []),
        World(folder / "killed", redis_url, "test-killed", KILLS),
    )


def test_every_kill_was_one_and_a_second_run_was_kept_out(worlds: tuple[World, World]) -> None:
    peaceful, killed = worlds
    assert peaceful.ends == [0]
    assert killed.ends == [-9, 4, *[-9] * (len(KILLS) - 1), 0]
    assert "another retrain runs in namespace test-killed" in killed.said


def test_the_same_weights_rec_ids_and_predictions_came_out(worlds: tuple[World, World]) -> None:
    peaceful, killed = worlds
    assert peaceful.run.folder.name != killed.run.folder.name  # theirs is another folder and namespace
    names = ["graph_encoder.safetensors", "graph_rqvae.safetensors", "generator.safetensors"]
    for name in (*names, "rec_ids.npz", "vectors.npz", "decoder.onnx", "dataset/interactions.parquet"):
        assert peaceful.bytes_of(name) == killed.bytes_of(name), name
    metrics = [world.run.read_json("metrics.json") | {"train_seconds": 0} for world in worlds]
    assert metrics[0] == metrics[1]


def test_every_event_was_archived_once(worlds: tuple[World, World]) -> None:
    archived = [
        pl.concat(pl.read_parquet(path, hive_partitioning=False) for path in sorted(world.data.glob("events/date=*/*")))
        for world in worlds
    ]
    assert archived[0].sort("sequence").equals(archived[1].sort("sequence"))
    assert sorted(archived[0]["item_id"]) == sorted([*(item_id(row) for row in range(SIZE - 1)), "unknown-item"])
    for world in worlds:
        counts = {name: world.summary["events"][name] for name in ("read", "archived", "duplicates", "tombstones")}
        assert counts == {"read": SIZE + 3, "archived": SIZE + 1, "duplicates": 1, "tombstones": 1}


def test_one_release_was_published_and_the_streams_were_trimmed(worlds: tuple[World, World], redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        for world in worlds:
            store = ReleaseStore(client, world.keys)
            assert store.versions() == [store.active_version()] == [world.summary["version"]]
            assert [client.xlen(world.keys.events(partition)) for partition in range(2)] == [1, 1]


def test_what_it_learned_from(worlds: tuple[World, World]) -> None:
    """The withheld item of every user is their last one now, and so the one that is held out."""
    dataset = worlds[0].summary["dataset"]
    assert (dataset["events"], dataset["unknown_items"]) == (SIZE - 1, 1)
    assert dataset["forgotten"] == SIZE // 2 - 1
    rows = pl.read_parquet(worlds[0].run.folder / "dataset" / "interactions.parquet")
    assert rows.filter(pl.col("user_id") == user_id(0))["item_id"][-1] == item_id(0)
    assert rows.filter(pl.col("user_id") == user_id(59)).is_empty()
