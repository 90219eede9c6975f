"""Nights that are disturbed: killed jobs, a Redis that goes away, a full disk, damaged archives, bad flags."""

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from offline.errors import CollapsedRecIdsError, OtherRunError
from offline.retraining import candidate_steps, event_steps, release_steps
from offline.retraining import retrain as module
from offline.retraining.run_record import RunRecord
from service.contract.redis_keys import event_partition
from tests.offline.conftest import item_id
from tests.offline.retraining.nights import STEPS, Nights
from tests.offline.retraining.test_event_archive import KilledError


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


def test_a_killed_run_whose_data_has_changed_is_given_up_unless_it_is_trained(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KilledError

    def change() -> None:
        path = nights.data / "interactions.parquet"
        pl.read_parquet(path)[1:].write_parquet(path)

    steps = (
        (event_steps, "write_snapshot", "abandoned"),
        (candidate_steps, "load_dataset", "abandoned"),
        (candidate_steps, "compare_with", "published"),
    )
    for row, (place, step, ended_as) in enumerate(steps):
        nights.happen(item_id(2 * row + 1))  # of the other taste, so that it is new
        with monkeypatch.context() as patched:
            patched.setattr(place, step, killed)
            with pytest.raises(KilledError):
                nights.night()
        (started,) = [path for path in nights.runs.glob("*/retrain.json") if '"running"' in path.read_text()]
        change()
        ended = nights.night()
        assert ended.result["result"] == "published"
        assert ("the dataset has changed and it is not trained" in ended.err) == (ended_as == "abandoned")
        assert json.loads(started.read_text())["state"] == ended_as


def test_data_that_cannot_be_trained_on_stops_no_later_night(nights: Nights) -> None:
    path = nights.data / "features" / "text.npy"
    good = np.load(path)
    bad = good.copy()
    bad[3, 0] = np.nan
    np.save(path, bad)
    for row in (1, 3):
        nights.happen(item_id(row))
        ended = nights.night()
        assert (ended.code, ended.out) == (2, "")
        assert f"error: {path}" in ended.err
        archived = pl.concat(pl.read_parquet(file) for file in nights.data.glob("events/date=*/*"))
        assert archived.height == (row + 1) // 2  # later events are archived, whatever the data is
    np.save(path, good)
    summary = nights.night().result
    assert (summary["result"], summary["dataset"]["events"], len(nights.trainings)) == ("published", 2, 1)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CollapsedRecIdsError("level 1"), 1),
        (FloatingPointError("loss is nan"), 1),
        (OtherRunError("the run was begun by another version"), 2),
    ],
)
def test_a_training_that_would_fail_again_leaves_the_next_night_its_own(
    nights: Nights, error: Exception, code: int
) -> None:
    def fails(_: Any) -> None:
        raise error

    nights.happen(item_id(1))
    nights.after_training = fails
    ended = nights.night()
    assert (ended.code, ended.out) == (code, "")
    nights.after_training = lambda _: None
    nights.happen(item_id(3))
    summary = nights.night().result
    assert (summary["result"], summary["dataset"]["events"], summary["events"]["read"]) == ("published", 2, 1)


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
    def failing(*_: Any, **__: Any) -> None:
        raise RuntimeError("no such font")

    monkeypatch.setattr(release_steps, "write_report", failing)
    ended = nights.night()
    assert ended.result["result"] == "published"
    assert "no report (no such font)" in ended.err


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--canary", "1"], "--canary 1 must be above 0 and below 1, such as 0.1"),
        (["--canary", "nan"], "--canary nan"),
        (["--latency-budget-ms", "0"], "--latency-budget-ms 0.0 must be above 0"),
        (["--latency-budget-ms", "nan"], "--latency-budget-ms nan must be above 0"),
        (["--data", "/no/such/folder"], "no such folder"),
        (["--runs", "/dev/null"], "--runs /dev/null: /dev/null is not a folder; give another --runs"),
        (["--runs", "/dev/null/nightly"], "--runs /dev/null/nightly: /dev/null is not a folder"),
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
