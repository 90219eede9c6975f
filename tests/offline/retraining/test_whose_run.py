"""Runs of several namespaces and datasets in one folder: each call goes on with its own, and with nobody else's."""

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from offline.retraining import candidate_steps
from offline.retraining.plan import Choices
from offline.retraining.run_record import RunRecord, read_records
from tests.offline.conftest import item_id
from tests.offline.retraining.nights import Nights, reasons, refused
from tests.offline.retraining.test_event_archive import KilledError


def killed_before_training(nights: Nights) -> RunRecord:
    """The record of a night that ended there."""

    def killed(*_: Any, **__: Any) -> None:
        raise KilledError

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(candidate_steps, "train_recipe", killed)
        with pytest.raises(KilledError):
            nights.night()
    (record,) = [record for record in read_records(nights.runs) if record.state == "running"]
    return record


def test_choices_that_make_another_run() -> None:
    choices: dict[str, Any] = {"data": Path("a"), "namespace": "n", "runs": Path("r"), "recipe": "tiny", "seed": 0}
    plan = Choices(**choices, from_scratch=False).as_plan()
    for name, other in (("data", Path("b")), ("namespace", "m"), ("recipe", "paper"), ("seed", 1)):
        assert Choices(**choices | {name: other}, from_scratch=False).as_plan() != plan, name
    assert Choices(**choices | {"data": Path("a/../a"), "runs": Path("s")}, from_scratch=False).as_plan() == plan


def test_the_unfinished_run_of_another_namespace_is_left_alone(nights: Nights) -> None:
    started, other = killed_before_training(nights), f"{nights.keys.namespace}-other"
    ended = nights.night("--namespace", other)
    assert "going on with" not in ended.err
    assert Path(ended.result["run"]) != started.folder
    assert nights.active is None
    nights.client.delete(*nights.client.keys(f"{other}:*"))
    mine = nights.night()
    assert f"going on with {started.folder}" in mine.err
    assert (mine.result["run"], mine.result["version"]) == (str(started.folder), nights.active)
    assert (Path(ended.result["run"]) / "dataset").is_dir()  # theirs: it knows what they hold out


def test_the_unfinished_run_of_another_folder_is_not_gone_on_with(nights: Nights) -> None:
    started = killed_before_training(nights)
    nights.data = Path(shutil.copytree(nights.data, nights.data.parent / "other"))
    ended = nights.night()
    assert "going on with" not in ended.err
    assert Path(ended.result["run"]) != started.folder


def test_a_newer_run_ends_what_was_left_unfinished(nights: Nights) -> None:
    """Nobody goes on with it months later, and its snapshot does not keep who is forgotten since."""
    started = killed_before_training(nights)
    assert (started.folder / "dataset").is_dir()
    other = RunRecord.begin(nights.runs / "other", {**started.plan, "namespace": "other"})
    ended = nights.night("--seed", "1")
    assert f"{started.folder} is given up, since a newer run begins" in ended.err
    states = {record.name: record.state for record in read_records(nights.runs)}
    assert states == {
        started.name: "abandoned",
        other.name: "running",
        Path(ended.result["run"]).name: "published",
    }
    assert not (started.folder / "dataset").exists()
    nights.happen(item_id(1))
    assert "going on with" not in nights.night().err


def test_another_catalogue_is_refused_before_any_training(nights: Nights) -> None:
    first = nights.night().result["version"]
    for name in ("items", "interactions"):
        path = nights.data / f"{name}.parquet"
        pl.read_parquet(path).with_columns(pl.format("b-{}", "item_id").alias("item_id")).write_parquet(path)
    ended = nights.night()
    summary = refused(ended)
    assert reasons(summary) == ["catalogue"]
    assert summary["gate"]["catalogue"] == {"served": 60, "added": 60, "removed": 60}
    assert (len(nights.trainings), nights.active) == (1, first)
    assert f"60 items of release {first} are not in items.parquet" in ended.err
