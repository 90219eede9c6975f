"""What a night starts from: the run behind whatever is served, and a cold start that says why."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from offline.retraining import candidate_steps
from tests.offline.conftest import item_id
from tests.offline.retraining.nights import Nights, reasons, refused
from tests.offline.retraining.test_event_archive import KilledError


def job_of(nights: Nights, *arguments: object) -> dict[str, Any]:
    """Another job in the same namespace."""
    where = ("--redis-url", nights.url, "--namespace", nights.keys.namespace)
    result: dict[str, Any] = nights.job(*arguments, *where).result
    return result


def by_hand(nights: Nights, folder: Path) -> None:
    """Somebody trains and publishes without `retrain`."""
    shutil.copytree(nights.trained, folder)
    job_of(nights, "publish", "--run", folder)


@contextmanager
def killed_while_training() -> Iterator[None]:
    def killed(*_: Any, **__: Any) -> None:
        raise KilledError

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(candidate_steps, "train_recipe", killed)
        with pytest.raises(KilledError):
            yield


def test_the_first_night_says_why_it_starts_cold(nights: Nights) -> None:
    ended = nights.night()
    assert (ended.result["started_from"], ended.result["cold_because"]) == (None, "nothing is served yet")
    assert "starts cold, because nothing is served yet" in ended.err
    nights.happen(item_id(1))
    assert nights.night("--from-scratch").result["cold_because"] == "--from-scratch was given"
    assert nights.starts == [None, None]


def test_a_changed_catalogue_is_that_of_its_run(nights: Nights) -> None:
    first = nights.night().result
    changed = job_of(nights, "remove-items", "--item", item_id(0))
    assert nights.active == changed["version"] != first["version"]
    path = nights.data / "interactions.parquet"
    whole = pl.read_parquet(path)
    whole.gather_every(2).write_parquet(path)
    assert reasons(refused(nights.night())) == ["interactions"]
    whole.write_parquet(path)
    nights.happen(item_id(1))
    summary = nights.night().result
    assert (summary["started_from"], summary["cold_because"]) == (Path(first["run"]).name, None)
    assert nights.starts == [None, Path(first["run"]).name]
    assert (summary["items_added"], summary["items_removed"]) == (1, 0)


def test_a_run_that_was_published_by_hand_is_found_among_the_runs(nights: Nights) -> None:
    by_hand(nights, nights.runs / "hand")
    path = nights.data / "interactions.parquet"
    whole = pl.read_parquet(path)
    whole.gather_every(2).write_parquet(path)
    assert reasons(refused(nights.night())) == ["interactions"]
    assert nights.trainings == []
    whole.write_parquet(path)
    assert nights.night().result["started_from"] == "hand"


def test_a_run_that_is_not_there_is_said(nights: Nights, tmp_path: Path) -> None:
    by_hand(nights, tmp_path / "elsewhere")
    summary = nights.night().result
    assert summary["started_from"] is None
    assert f"no run in {nights.runs} made release" in summary["cold_because"]


def test_a_damaged_run_is_no_start_and_named(nights: Nights) -> None:
    damaged = Path(nights.night().result["run"]) / "generator.safetensors"
    damaged.write_bytes(b"00" + damaged.read_bytes()[2:])
    nights.happen(item_id(1))
    ended = nights.night()
    assert (ended.result["result"], ended.result["started_from"], nights.starts) == ("published", None, [None, None])
    assert "generator.safetensors" in ended.result["cold_because"]
    assert "warning: the run that is served is damaged" in ended.err


def test_a_run_that_is_damaged_after_the_start_is_given_up(nights: Nights) -> None:
    """What was trained from it so far goes, too: its start cannot be had again."""
    first = Path(nights.night().result["run"])
    nights.happen(item_id(1))
    with killed_while_training():
        nights.night()
    (second,) = [path.parent for path in nights.runs.glob("*/retrain.json") if '"running"' in path.read_text()]
    shutil.copytree(first, second, dirs_exist_ok=True, ignore=shutil.ignore_patterns("retrain.json", "dataset"))
    (first / "run.json").write_text("{}")
    ended = nights.night()
    assert (Path(ended.result["run"]), nights.starts) == (second, [None, None])
    assert "run.json has no recipe" in ended.result["cold_because"]
    assert "is trained anew" in ended.err


def test_a_cold_start_stays_one_when_the_run_comes_back(nights: Nights) -> None:
    first = Path(nights.night().result["run"])
    nights.happen(item_id(1))
    first.rename(nights.runs.parent / "away")
    with killed_while_training():
        nights.night()
    (nights.runs.parent / "away").rename(first)
    summary = nights.night().result
    assert summary["started_from"] is None
    assert "no run in" in summary["cold_because"]
