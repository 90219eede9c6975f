"""The whole job over a real Redis. Training alone is spared: it leaves the trained checkerboard's files."""

import errno
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import redis

from offline.redis_connection import job_lock
from offline.retraining import candidate_steps, event_steps, latency, release_steps
from offline.retraining import retrain as module
from offline.retraining.run_record import RunRecord
from offline.run_folder import METRICS_FILES, RunFolder
from service.contract.redis_keys import RedisKeys, event_partition
from service.contract.release_store import ReleaseStore
from tests.offline.conftest import SIZE, item_id, user_id
from tests.offline.retraining.conftest import event
from tests.offline.retraining.test_event_archive import KilledError


STEPS = ["archive", "snapshot", "train", "compare", "report", "publish", "trim"]


class Nights:
    """A dataset folder, its runs, a namespace, and what one night after the other makes of them."""

    def __init__(self, job: Any, url: str, namespace: str, folder: Path, trained: tuple[Path, Path]) -> None:
        self.job, self.url, self.keys = job, url, RedisKeys(namespace)
        self.client = redis.Redis.from_url(url)
        self.store = ReleaseStore(self.client, self.keys)
        self.data = Path(shutil.copytree(trained[0], folder / "shop"))
        self.runs = folder / "runs"
        self.trained = trained[1]
        self.trainings: list[Path] = []
        self.after_training: Callable[[RunFolder], None] = lambda _: None
        self.events = 0

    def train(self, data: Path, dataset: Any, run: RunFolder, recipe: Any, **_: Any) -> dict[str, float]:
        """In the place of `train_recipe`: a finished run of the same 60 items."""
        if not (run.folder / "stages.json").exists():
            self.trainings.append(data)
            shutil.copytree(self.trained, run.folder, dirs_exist_ok=True)
        self.after_training(run)
        return dict(run.read_json("metrics.json"))

    def night(self, *flags: object) -> Any:
        return self.job(
            *("retrain", "--data", self.data, "--runs", self.runs, "--recipe", "tiny"),
            *("--redis-url", self.url, "--namespace", self.keys.namespace, *flags),
        )

    def happen(self, *items: str, user: str = "user-00") -> None:
        for item in items:
            self.events += 1
            fields: dict[Any, Any] = event(item, user=user, event_id=f"e-{self.events}").fields()
            self.client.xadd(self.keys.events(event_partition(user, 4)), fields)

    @property
    def active(self) -> str | None:
        return self.store.active_version()

    def entries(self) -> int:
        return sum(int(self.client.xlen(self.keys.events(partition))) for partition in range(4))


@pytest.fixture
def nights(
    job: Any,
    redis_url: str,
    namespace: str,
    tmp_path: Path,
    trained: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Nights]:
    made = Nights(job, redis_url, namespace, tmp_path, trained)
    monkeypatch.setattr(candidate_steps, "train_recipe", lambda *arguments, **named: made.train(*arguments, **named))
    monkeypatch.setattr(latency, "ROUNDS", 3)
    yield made
    made.client.close()


def refused(ended: Any) -> dict[str, Any]:
    """The summary of a night that the gate ended, with one line that says so."""
    assert (ended.code, ended.err.splitlines()[-1][:24]) == (3, "error: the gate refused "), ended.err
    summary: dict[str, Any] = json.loads(ended.out)
    assert summary["result"] == "refused"
    for reason in summary["gate"]["reasons"]:
        assert reason["text"] in ended.err.splitlines()[-1]
    return summary


def reasons(summary: dict[str, Any]) -> list[str]:
    return [reason["name"] for reason in summary["gate"]["reasons"]]


def test_the_first_night(nights: Nights) -> None:
    nights.happen(item_id(0), item_id(59), "unknown-item")
    summary = nights.night().result
    run = Path(summary["run"])
    assert (summary["result"], summary["version"]) == ("published", nights.active)
    assert list(summary["steps"]) == STEPS
    assert {name: summary["events"][name] for name in ("read", "archived", "duplicates")} == {
        "read": 3,
        "archived": 3,
        "duplicates": 0,
    }
    assert (summary["dataset"]["events"], summary["dataset"]["unknown_items"]) == (2, 1)
    assert summary["metrics"]["test"]["recall@20"] == RunFolder(run).read_json("metrics.json")["recall@20"]
    assert (summary["gate"]["passed"], summary["gate"]["compared_with"]) == (True, None)
    assert json.loads((run / "summary.json").read_text()) == summary
    assert json.loads((run / "gate.json").read_text()) == summary["gate"]
    assert nights.entries() == 1  # the last one stays, see offline.retraining.event_streams
    assert next(iter(summary["streams"].values()))["length"] == 1
    manifest = nights.store.read_manifest(summary["version"])
    assert (manifest.gate["run"], manifest.gate["passed"], manifest.dataset) == (run.name, True, "checkerboard")


def test_an_empty_night_trains_nothing(nights: Nights) -> None:
    nights.happen(item_id(0))
    first = nights.night().result
    for _ in range(2):
        summary = nights.night().result
        assert (summary["result"], summary["run"], summary["version"]) == (
            "nothing_new",
            first["run"],
            first["version"],
        )
        assert summary["events"]["read"] == 0
    assert len(nights.trainings) == len(nights.store.versions()) == 1


def test_a_night_of_copies_and_unknown_items_trains_nothing_and_is_archived(nights: Nights) -> None:
    nights.happen(item_id(0))
    first = nights.night().result
    nights.happen("unknown-item")
    nights.events = 0
    nights.happen(item_id(0))
    summary = nights.night().result
    assert (summary["result"], summary["events"]["archived"], summary["events"]["duplicates"]) == ("nothing_new", 1, 1)
    assert (nights.active, nights.entries(), len(nights.trainings)) == (first["version"], 1, 1)
    assert nights.night().result["events"]["read"] == 0


def test_another_night_is_compared_with_the_release_that_is_served(nights: Nights) -> None:
    first = nights.night().result
    nights.client.rpush(nights.keys.history(user_id(0)), item_id(2))
    nights.happen(item_id(0))
    summary = nights.night().result
    assert (summary["result"], summary["gate"]["compared_with"]) == ("published", first["version"])
    assert summary["started_from"] == Path(first["run"]).name
    assert summary["metrics"]["new"] == summary["metrics"]["served"]  # the files are the same
    assert summary["gate"]["replay"]["histories"] == 1
    assert nights.store.read_manifest(summary["version"]).parent == first["version"]
    assert not (Path(first["run"]) / "dataset").exists()  # of ended runs, the newest keeps its snapshot
    assert (Path(summary["run"]) / "dataset").exists()


def test_a_release_that_was_rolled_back_does_not_come_again(nights: Nights) -> None:
    first = nights.night().result["version"]
    nights.happen(item_id(0))
    nights.night()
    nights.store.rollback()
    assert nights.night().result["result"] == "nothing_new"
    assert nights.active == first


def fallen(*_: Any) -> dict[str, Any]:
    both = {"recall@20": 0.1, "ndcg@20": 0.2, "coverage@20": 0.5}
    return {
        "users": 60,
        "new": both,
        "served": both | {"recall@20": 0.2},
        "difference": {"recall@20": -0.1, "ndcg@20": 0.0},
        "standard_error": {"recall@20": 0.01, "ndcg@20": 0.0},
    }


def test_a_worse_candidate_is_refused_and_force_is_recorded(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    first = nights.night().result["version"]
    nights.happen(item_id(0))
    monkeypatch.setattr(candidate_steps, "compare_with", fallen)
    for _ in range(2):  # it may be asked again, and is not trained again
        summary = refused(nights.night())
        assert (reasons(summary), summary["version"], nights.active) == (["recall@20"], None, first)
        assert (summary["gate"]["reasons"][0]["value"], nights.entries()) == (0.1, 1)
    assert len(nights.trainings) == 2
    forced = nights.night("--force").result
    gate = nights.store.read_manifest(forced["version"]).gate
    assert (forced["result"], gate["passed"], gate["forced"]) == ("published", False, True)
    assert [reason["name"] for reason in gate["reasons"]] == ["recall@20"]
    assert len(nights.trainings) == 2


def test_a_tolerance_lets_it_pass(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    nights.night()
    nights.happen(item_id(0))
    monkeypatch.setattr(candidate_steps, "compare_with", fallen)
    assert nights.night("--tolerance", "0.6").result["result"] == "published"


def test_what_breaks_a_promise_is_not_published_by_force(nights: Nights) -> None:
    def spoil(run: RunFolder) -> None:
        run.write_json("metrics.json", run.read_json("metrics.json") | {"illegal": 2.0})
        run.record("metrics", METRICS_FILES, 0.0)

    nights.after_training = spoil
    assert reasons(refused(nights.night("--force"))) == ["illegal"]
    assert nights.active is None


def test_data_that_shrank_by_half_is_refused_before_any_training(nights: Nights) -> None:
    first = nights.night().result
    path = nights.data / "interactions.parquet"
    pl.read_parquet(path).gather_every(2).write_parquet(path)
    nights.happen(item_id(0))
    summary = refused(nights.night())
    assert reasons(summary) == ["interactions"]
    assert (summary["metrics"]["test"], len(nights.trainings), nights.active) == ({}, 1, first["version"])
    assert nights.night("--force").result["gate"]["forced"]


def test_a_catalogue_that_shrank_is_refused(nights: Nights) -> None:
    nights.night()
    kept = pl.Series([item_id(row) for row in range(SIZE // 2)])
    for name in ("items", "interactions"):
        path = nights.data / f"{name}.parquet"
        pl.read_parquet(path).filter(pl.col("item_id").is_in(kept.implode())).write_parquet(path)
    shutil.rmtree(nights.data / "features")
    assert reasons(refused(nights.night())) == ["items", "interactions"]


def test_a_latency_budget(nights: Nights) -> None:
    summary = refused(nights.night("--latency-budget-ms", "0.000001"))
    assert reasons(summary) == ["latency_budget_ms"]
    assert summary["gate"]["latency_ms"]["new"] > 0


def test_a_served_release_that_lost_bytes_is_named_and_force_replaces_it(nights: Nights) -> None:
    first = nights.night().result["version"]
    (address, *_) = nights.store.read_manifest(first).arrays["trie.leaf_to_row"].addresses
    nights.client.delete(nights.keys.blob(*address))
    nights.happen(item_id(0))
    summary = refused(nights.night())
    assert reasons(summary) == ["served_release"]
    assert f"release {first}: array trie.leaf_to_row: chunk 0" in summary["gate"]["reasons"][0]["text"]
    assert nights.active == first
    assert nights.night("--force").result["result"] == "published"


@pytest.mark.parametrize("name", ["decoder.onnx", "graph_rqvae.safetensors"])
def test_a_damaged_file_of_the_run_is_named_and_nothing_is_published(nights: Nights, name: str) -> None:
    def cut(run: RunFolder) -> None:
        path = run.folder / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    nights.after_training = cut
    ended = nights.night()
    assert (ended.code, ended.out) == (2, "")
    assert name.partition(".")[0] in ended.err.splitlines()[-1]
    assert "train" in ended.err.splitlines()[-1]
    assert nights.active is None
    (next(nights.runs.iterdir()) / "stages.json").unlink()
    nights.after_training = lambda _: None
    assert nights.night().result["result"] == "published"


@pytest.mark.parametrize("lock", ["retrain", "publish"])
def test_a_lock_that_another_holds_ends_with_4(nights: Nights, lock: str) -> None:
    nights.happen(item_id(0))
    with job_lock(nights.client, nights.keys, lock):
        ended = nights.night()
        assert (ended.code, ended.out) == (4, "")
        assert f"another {lock} runs in namespace" in ended.err
        assert nights.active is None
        assert nights.entries() == 1
    assert nights.night().result["events"]["read"] == 1
    assert len(nights.trainings) == 1


def test_a_canary(nights: Nights) -> None:
    ended = nights.night("--canary", "0.1")
    assert (ended.code, nights.active) == (2, None)
    assert "has no main release" in ended.err
    first = nights.night().result["version"]
    nights.happen(item_id(0))
    canary = nights.night("--canary", "0.1").result["version"]
    assert {arm: tuple(pointer) for arm, pointer in nights.store.arms.all().items()} == {
        "main": (first, 0.9),
        "canary": (canary, 0.1),
    }


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_it_goes_on_with_what_it_set_out_to_read(
    nights: Nights, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """When all of the step is done, and not recorded yet. Events that come meanwhile belong to the next night."""
    nights.happen(item_id(0))
    finish = RunRecord._finish

    def killed(self: RunRecord, name: str, result: Any, seconds: float) -> None:
        if name == step:
            raise KilledError
        finish(self, name, result, seconds)

    with monkeypatch.context() as patched:
        patched.setattr(RunRecord, "_finish", killed)
        with pytest.raises(KilledError):
            nights.night()
    nights.happen(item_id(59), user="user-00")
    summary = nights.night().result
    (version,) = nights.store.versions()
    assert (summary["result"], summary["version"], len(nights.trainings)) == ("published", version, 1)
    assert (summary["events"]["read"], summary["dataset"]["events"]) == (1, 1)
    assert len(list(nights.runs.iterdir())) == 1
    assert nights.entries() == 2


def test_a_killed_run_whose_data_has_changed_is_given_up_unless_it_has_its_snapshot(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KilledError

    def change() -> None:
        path = nights.data / "interactions.parquet"
        pl.read_parquet(path)[1:].write_parquet(path)

    steps = ((event_steps, "write_snapshot", "abandoned"), (candidate_steps, "load_dataset", "published"))
    for place, step, ended_as in steps:
        nights.happen(item_id(0))
        with monkeypatch.context() as patched:
            patched.setattr(place, step, killed)
            with pytest.raises(KilledError):
                nights.night()
        (started,) = [path for path in nights.runs.glob("*/retrain.json") if '"running"' in path.read_text()]
        change()
        assert nights.night().result["result"] == "published"
        assert json.loads(started.read_text())["state"] == ended_as


def test_redis_that_goes_away_midway(
    own_redis: Any, job: Any, namespace: str, tmp_path: Path, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_redis.start()
    nights = Nights(job, own_redis.url, namespace, tmp_path, trained)
    monkeypatch.setattr(candidate_steps, "train_recipe", lambda *arguments, **named: nights.train(*arguments, **named))
    nights.happen(item_id(0))
    nights.after_training = lambda _: own_redis.kill()
    ended = nights.night()
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.splitlines()[-1].startswith("error: ")
    own_redis.start()
    assert (nights.active, nights.entries()) == (None, 1)
    nights.client.delete(nights.keys.lock("retrain"))  # as when its lease has run out
    nights.after_training = lambda _: None
    assert nights.night().result["result"] == "published"
    assert len(nights.trainings) == 1


def test_a_full_disk_is_named_and_the_next_night_goes_on(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    first = nights.night().result["version"]
    nights.happen(item_id(0))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for step in ("archive_events", "make_snapshot", "train_and_judge", "publish_candidate", "trim_streams"):
        with monkeypatch.context() as patched:
            patched.setattr(module, step, full)
            ended = nights.night()
        assert (ended.code, ended.out) == (1, "")
        assert "No space left on device" in ended.err.splitlines()[-1]
        assert "the served release stays" in ended.err.splitlines()[-1]
        assert nights.active == first or step == "trim_streams"
    assert nights.night().result["result"] == "published"
    assert len(nights.trainings) == len(nights.store.versions()) == 2


def test_entries_that_were_pushed_out_unread_are_told(nights: Nights) -> None:
    nights.happen(item_id(0))
    assert nights.night().result["events"]["gaps"] == []
    nights.happen(item_id(2), item_id(4))
    assert nights.client.xtrim(nights.keys.events(event_partition("user-00", 4)), maxlen=1, approximate=False)
    ended = nights.night()
    assert ended.result["events"]["gaps"] == [event_partition("user-00", 4)]
    assert "MMGREC_EVENT_STREAM_MAX_LENGTH" in ended.err


def test_streams_are_not_trimmed_when_the_archive_is_damaged(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    nights.happen(item_id(0), item_id(2))
    publish = module.publish_candidate

    def damage(*arguments: Any) -> Any:
        (path,) = nights.data.glob("events/date=*/*")
        path.write_bytes(b"PAR1")
        return publish(*arguments)

    monkeypatch.setattr(module, "publish_candidate", damage)
    ended = nights.night()
    assert (ended.code, nights.entries()) == (2, 2)
    assert "is damaged" in ended.err


def test_a_report_that_fails_keeps_nobody_from_publishing(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    class Reporting:
        @staticmethod
        def write_report(_: Any) -> None:
            raise RuntimeError("no such font")

    monkeypatch.setattr(release_steps.importlib.util, "find_spec", lambda _: True)
    monkeypatch.setattr(release_steps.importlib, "import_module", lambda _: Reporting)
    ended = nights.night()
    assert ended.result["result"] == "published"
    assert "no report (no such font)" in ended.err


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--canary", "1"], "--canary 1"),
        (["--canary", "nan"], "--canary nan"),
        (["--latency-budget-ms", "0"], "--latency-budget-ms 0.0 must be above 0"),
        (["--latency-budget-ms", "nan"], "--latency-budget-ms nan must be above 0"),
        (["--data", "/no/such/folder"], "no such folder"),
    ],
)
def test_bad_flags(nights: Nights, flags: list[str], named: str) -> None:
    ended = nights.night(*flags)
    assert (ended.code, ended.out) == (2, "")
    assert named in ended.err


def test_a_folder_that_is_no_dataset_is_named_and_no_run_begins(nights: Nights) -> None:
    (nights.data / "items.parquet").unlink()
    ended = nights.night()
    assert (ended.code, nights.runs.exists()) == (2, False)
    assert "items.parquet: no such file" in ended.err


def test_runs_that_cannot_be_read_are_passed_over(nights: Nights) -> None:
    (nights.runs / "odd").mkdir(parents=True)
    (nights.runs / "odd" / "retrain.json").write_text("{")
    ended = nights.night()
    assert ended.result["result"] == "published"
    assert "that run is passed over" in ended.err
