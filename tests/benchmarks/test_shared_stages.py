"""A variant takes over what it shares with the full recipe, and nothing else."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from benchmarks.ablating.shared_stages import adopt_stages
from benchmarks.ablating.variants import (
    Change,
    codebooks,
    joint_quantisation,
    with_attention,
    without_dense_term,
    without_graph,
)
from offline.dataset import Dataset
from offline.errors import BadInputError
from offline.recipe_settings import Recipe
from offline.recipes import RECIPES
from offline.run_folder import RunFolder, fingerprint


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("interactions", "items"):
        pl.DataFrame({"item_id": ["a"]}).write_parquet(folder / f"{name}.parquet")
    return folder


@pytest.fixture
def full(small: Dataset) -> Recipe:
    return RECIPES["standard"](small, 0)


@pytest.fixture
def source(tmp_path: Path, full: Recipe, data: Path) -> RunFolder:
    """A finished run whose files are one line each."""
    run = RunFolder(tmp_path / "full")
    run.begin(full, fingerprint(data), "data")
    for stage, files in {
        "graph": ["vectors"],
        "rec_ids": ["ids"],
        "generator": ["weights"],
        "decoder": ["onnx"],
    }.items():
        with run.stage(stage, files):
            for file in files:
                (run.folder / file).write_text(f"{stage} {file}")
    return run


@pytest.mark.parametrize(
    ("change", "shared", "files"),
    [
        (without_dense_term, ["graph", "rec_ids", "generator"], {"vectors", "ids", "weights"}),
        (with_attention("plain"), ["graph", "rec_ids"], {"vectors", "ids"}),
        (codebooks(2, 5), ["graph"], {"vectors"}),
        (lambda full: joint_quantisation(codebooks(2, 5)(full)), [], set()),
        (without_graph, [], set()),
        (lambda full: replace(full, seed=1), [], set()),
        (lambda full: replace(full, generator=replace(full.generator, max_history=8)), [], set()),
    ],
)
def test_what_is_equal_is_taken_over(
    change: Change, shared: list[str], files: set[str], full: Recipe, source: RunFolder, data: Path, tmp_path: Path
) -> None:
    target = RunFolder(tmp_path / "variant")
    assert adopt_stages(source, target, change(full), data) == shared
    assert {path.name for path in target.folder.iterdir()} - {"run.json", "stages.json"} == files
    assert list(target.stage_seconds()) == sorted(shared)
    assert all((target.folder / file).read_text() == (source.folder / file).read_text() for file in files)
    with target.stage("graph", ["vectors"]) as todo:
        assert todo is not bool(shared)
        (target.folder / "vectors").touch()


def test_a_second_call_says_the_same(full: Recipe, source: RunFolder, data: Path, tmp_path: Path) -> None:
    target = RunFolder(tmp_path / "variant")
    answers = [adopt_stages(source, target, without_dense_term(full), data) for _ in range(2)]
    assert answers == [["graph", "rec_ids", "generator"]] * 2


def test_a_damaged_stage_is_not_taken_over(full: Recipe, source: RunFolder, data: Path, tmp_path: Path) -> None:
    (source.folder / "vectors").write_text("damaged")
    assert adopt_stages(source, RunFolder(tmp_path / "variant"), without_dense_term(full), data) == []


def test_other_data_share_nothing(full: Recipe, source: RunFolder, data: Path, tmp_path: Path) -> None:
    pl.DataFrame({"item_id": ["b"]}).write_parquet(data / "items.parquet")
    assert adopt_stages(source, RunFolder(tmp_path / "variant"), without_dense_term(full), data) == []


def test_a_stage_of_its_own_is_kept(full: Recipe, source: RunFolder, data: Path, tmp_path: Path) -> None:
    target = RunFolder(tmp_path / "variant")
    target.begin(without_dense_term(full), fingerprint(data), "data")
    with target.stage("graph", ["vectors"]):
        (target.folder / "vectors").write_text("my own")
    assert adopt_stages(source, target, without_dense_term(full), data) == []
    assert (target.folder / "vectors").read_text() == "my own"


def test_a_folder_of_another_run_is_refused(full: Recipe, source: RunFolder, data: Path, tmp_path: Path) -> None:
    target = RunFolder(tmp_path / "variant")
    target.begin(without_graph(full), fingerprint(data), "data")
    with pytest.raises(BadInputError, match=r"recipe\.graph\.num_layers: 0 there, 2 asked"):
        adopt_stages(source, target, full, data)
