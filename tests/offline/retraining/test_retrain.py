"""The whole job over a real Redis. Training alone is spared: it leaves the trained checkerboard's files."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from offline.redis_connection import job_lock
from offline.retraining import candidate_steps, judging
from offline.run_folder import METRICS_FILES, RunFolder
from tests.offline.conftest import SIZE, item_id, user_id
from tests.offline.retraining.nights import STEPS, Nights, reasons, refused


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


@pytest.mark.parametrize(
    ("timings", "passes", "asked"),
    [([9.0, 9.0, 1.0], True, 3), ([9.0, 1.0, 9.0], True, 2), ([9.0, 9.0, 9.0], False, 3), ([1.0], True, 1)],
)
def test_a_slow_answer_is_timed_again(
    nights: Nights, monkeypatch: pytest.MonkeyPatch, timings: list[float], passes: bool, asked: int
) -> None:
    left = iter(timings)
    monkeypatch.setattr(judging, "median_milliseconds", lambda decoders, _: [next(left)])
    outcome = nights.night("--latency-budget-ms", "2")
    assert (reasons(refused(outcome)) == ["latency_budget_ms"]) if not passes else outcome.result["version"]
    assert len(timings) - len(list(left)) == asked


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


@pytest.mark.parametrize("name", ["decoder.onnx", "item_encoder.safetensors"])
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
