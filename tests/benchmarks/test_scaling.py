"""The benchmark of the offline stages: its logs, what it projects, and one small size from end to end."""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.offline import sizes_of
from benchmarks.scaling.growth import bars, growth
from benchmarks.scaling.interactions import ITEMS_PER_TASTE, LogSize, draw, size_of, write_log
from benchmarks.scaling.measured_run import Loop, Measured, MeasuredRun, Stopwatch
from benchmarks.scaling.stages import QUICK, UNITS, comparable, described, num_interactions, shortened, with_test_users
from offline.dataset import Dataset, load_dataset
from offline.recipes import tiny
from offline.run_folder import RunFolder
from offline.train import train_recipe
from tests.offline.conftest import SEED, trained_checkerboard


@pytest.mark.parametrize("has_time", [False, True])
def test_a_log_has_the_size_that_was_asked_for(tmp_path: Path, has_time: bool) -> None:
    size = write_log(100_000, tmp_path / "log", seed=0, has_time=has_time)
    assert size == LogSize(100_000, 2500, 1000)
    dataset = load_dataset(tmp_path / "log")
    assert (dataset.num_users, dataset.num_items, dataset.has_time) == (2500, 1000, has_time)
    assert 75_000 < sum(len(part.users) for part in (dataset.train, dataset.valid, dataset.test)) <= 100_000
    assert dataset.features["content"].shape == (1000, 64)
    with pytest.raises(FileExistsError):
        write_log(100_000, tmp_path / "log", seed=0, has_time=has_time)


def test_users_have_tastes_and_some_items_are_popular() -> None:
    size = size_of(400_000)
    rng = np.random.default_rng(0)
    num_tastes = size.items // ITEMS_PER_TASTE
    taste_of = rng.permutation(np.arange(size.items) % num_tastes)
    users, items = draw(size, taste_of, rng)
    assert len(users) == 400_000
    assert (np.diff(users) >= 0).all()
    assert items.max() < size.items
    counts = np.sort(np.bincount(items, minlength=size.items))[::-1]
    assert counts[: size.items // 10].sum() > 0.25 * len(items)
    of_user = taste_of[items[users == users[-1]]]
    assert np.sort(np.bincount(of_user, minlength=num_tastes))[-3:].sum() > 0.5 * len(of_user)  # three of twenty tastes


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return trained_checkerboard(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def dataset(trained: tuple[Path, Path]) -> Dataset:
    return load_dataset(trained[0], seed=SEED)


def test_a_run_is_measured_stage_by_stage(trained: tuple[Path, Path], dataset: Dataset, tmp_path: Path) -> None:
    """A finished run, of which the last stage is done again."""
    run, stopwatch = RunFolder(shutil.copytree(trained[1], tmp_path / "run")), Stopwatch()
    run.reopen("metrics")
    with stopwatch.listening():
        metrics = train_recipe(trained[0], dataset, MeasuredRun(run, stopwatch), tiny(dataset, SEED))
    assert metrics["recall@20"] > 0
    assert list(stopwatch.parts) == ["graph", "rec_ids", "generator", "decoder", "metrics"]
    assert stopwatch.parts["metrics"].seconds > stopwatch.parts["graph"].seconds
    assert all(part.peak_bytes > 50 * 2**20 for part in stopwatch.parts.values())
    assert stopwatch.loops["rank test users"].steps == dataset.num_users


def test_what_the_recipe_would_take_is_projected(dataset: Dataset) -> None:
    """Two seconds beside the loops; and loops that are to go on."""
    recipe, stopwatch = tiny(dataset, SEED), Stopwatch()
    stopwatch.parts |= {stage: Measured(2.0, 3.0, 7 * 2**20) for stage in UNITS}
    stopwatch.parts["generator"] = Measured(2.0 + 0.5, 3.0 + 0.8, 7 * 2**20)
    stopwatch.loops |= {"generator": Loop(5, 0.5, 0.8), "rank valid users": Loop(9, 1.0, 1.0)}
    plan = QUICK._replace(interactions_per_test_user=num_interactions(dataset) // 7)
    report = described(dataset, recipe, stopwatch, plan)
    assert (report["users"], report["items"], report["users_ranked"]) == (60, 60, 7)
    found = report["stages"]["generator"]
    num_steps = recipe.generator.num_steps
    assert found["loops"] == {
        "generator": {
            "steps": 5,
            "seconds_per_step": 0.1,
            "cpu_seconds_per_step": 0.16,
            "recipe_steps": num_steps,
        }
    }
    assert found["projected_seconds"] == pytest.approx(2.0 + 0.1 * num_steps)
    assert found["projected_cpu_seconds"] == pytest.approx(3.0 + 0.16 * num_steps)
    assert found["users_per_second"] == pytest.approx(60 / found["projected_seconds"], abs=0.1)
    assert report["stages"]["publish"] == {
        "seconds": 2.0,
        "loops": {},
        "projected_seconds": 2.0,
        "projected_cpu_seconds": 3.0,
        "items_per_second": 30.0,
        "peak_mib": 7,
    }


def test_the_recipe_is_the_same_at_every_size_but_for_its_steps(dataset: Dataset) -> None:
    full = comparable(dataset, SEED)
    assert (full.graph.members, len(full.graph.temperatures)) == (("fused", "aligned"), 1)
    short = shortened(full, QUICK)
    assert (short.graph.num_steps, short.graph.num_quantizer_steps, short.generator.num_steps) == (4, 2, 4)
    assert replace(full.generator, num_steps=4, num_sequence_steps=4) == short.generator


def report_of(size: int, slowness: float) -> dict[str, object]:
    stages = {name: {"projected_cpu_seconds": size * slowness, "peak_mib": 100 * slowness} for name in UNITS}
    return {"interactions": size, "users": size, "items": size, "users_ranked": size, "stages": stages}


@pytest.mark.parametrize(("slowness", "met"), [(1.0, True), (1.5, True), (1.6, False)])
def test_growth_by_eye(slowness: float, met: bool) -> None:
    grown = growth([report_of(1000, 1.0), report_of(2000, 9.0), report_of(8000, slowness)])
    assert grown["interactions"] == 8
    assert grown["stages"]["graph"] == {
        "unit": "interactions",
        "seconds_per_unit": slowness,
        "peak_mib": slowness,
    }
    judged = bars(grown)
    assert judged["all_met"] is met
    assert judged["bars"]["publish"] == {"must": 1.5, "value": slowness, "met": met}


def test_test_users_are_cut_evenly(tmp_path: Path) -> None:
    write_log(10_000, tmp_path / "log", seed=0, has_time=True)
    dataset = load_dataset(tmp_path / "log")
    users = np.unique(with_test_users(dataset, 5).test.users)
    assert len(users) == 5
    assert users[0] == dataset.test.users.min()
    assert users[-1] == dataset.test.users.max()
    assert with_test_users(dataset, 10**6) is dataset


@pytest.mark.parametrize("text", ["", "one", "2,1", "1,1", "0.001", "-1"])
def test_sizes_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="give rising millions"):
        sizes_of(text)
    assert sizes_of("0.05,1,8") == (50_000, 1_000_000, 8_000_000)
