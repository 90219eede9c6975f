"""One run's folder: a stage that died is redone, a finished one is not, and another run is refused."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from offline.dataset import Dataset
from offline.errors import BadInputError
from offline.recipes import Recipe, tiny
from offline.run_folder import RunFolder, fingerprint


@pytest.fixture
def recipe(dataset: Dataset) -> Recipe:
    return tiny(dataset, 0)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    (tmp_path / "run").mkdir()
    return RunFolder(tmp_path / "run")


def do(run: RunFolder, done: list[str], *names: str) -> None:
    for name in names:
        with run.stage(name) as todo:
            if todo:
                done.append(name)


def test_a_finished_stage_is_not_done_again(folder: RunFolder) -> None:
    done: list[str] = []
    do(folder, done, "a", "b")
    do(RunFolder(folder.folder), done, "a", "b", "c")
    assert done == ["a", "b", "c"]
    assert list(folder.stage_seconds()) == ["a", "b", "c"]


@pytest.mark.parametrize("death", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_stage_that_died_is_done_again(folder: RunFolder, death: type[BaseException]) -> None:
    done: list[str] = []
    do(folder, done, "a")
    with pytest.raises(death), folder.stage("b"):
        raise death
    do(folder, done, "a", "b")
    assert done == ["a", "b"]


def test_what_a_killed_writer_left_does_no_harm(folder: RunFolder) -> None:
    """A `.part` file is what SIGKILL leaves between writing and renaming."""
    folder.write_json("report.json", {"value": 1})
    (folder.folder / "report.json.part").write_text('{"val')
    (folder.folder / "stages.json.part").write_text('["a", "b"')
    assert folder.read_json("report.json") == {"value": 1}
    done: list[str] = []
    do(folder, done, "a")
    folder.write_json("report.json", {"value": 2})
    assert (done, folder.read_json("report.json")) == (["a"], {"value": 2})
    assert sorted(path.name for path in folder.folder.iterdir()) == ["report.json", "stages.json"]


def test_it_knows_how_long_each_stage_took(folder: RunFolder) -> None:
    """Also those of a call that was stopped: `train_seconds` is the sum."""
    with folder.stage("slow"):
        time.sleep(0.05)
    do(folder, [], "quick")
    seconds = RunFolder(folder.folder).stage_seconds()
    assert 0.05 <= seconds["slow"] < 5
    assert 0 <= seconds["quick"] < seconds["slow"]


def test_the_same_run_may_begin_again(tmp_path: Path, recipe: Recipe) -> None:
    run = RunFolder(tmp_path / "made" / "by" / "begin")
    run.begin(recipe, "0a1b", "shop")
    run.begin(recipe, "0a1b", "shop")
    found = run.read_json("run.json")
    assert (found["dataset"], found["dataset_sha256"], found["recipe"]["seed"]) == ("shop", "0a1b", 0)
    assert found["recipe"]["graph"]["num_steps"] == recipe.graph.num_steps


def test_another_recipe_or_dataset_is_refused_and_named(folder: RunFolder, recipe: Recipe) -> None:
    folder.begin(recipe, "0a1b", "shop")
    for other, sha256, differing in (
        (replace(recipe, seed=1), "0a1b", "recipe"),
        (replace(recipe, generator=replace(recipe.generator, num_steps=9)), "0a1b", "recipe"),
        (recipe, "ffff", "dataset_sha256"),
    ):
        with pytest.raises(BadInputError, match=rf"differs in \['{differing}'\]; take another --run or remove"):
            folder.begin(other, sha256, "shop")
    assert folder.read_json("run.json")["dataset_sha256"] == "0a1b"


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match=r"file cannot be the folder of a run.*give another --run"):
        RunFolder(tmp_path / "file").begin(recipe, "0a1b", "shop")


def test_an_unfinished_run_is_refused_with_the_command_that_finishes_it(folder: RunFolder) -> None:
    with folder.stage("a"):
        pass
    folder.require("a")
    with pytest.raises(BadInputError, match=r"stage 'b' is missing; run: python -m offline train --data DIR --run "):
        folder.require("b")
    with pytest.raises(BadInputError, match="stage 'a' is missing"):
        RunFolder(folder.folder / "nowhere").require("a")


@pytest.mark.parametrize("content", [b"", b"[1", b"\xff\xfe"])
def test_a_damaged_list_of_stages_is_named(folder: RunFolder, content: bytes) -> None:
    (folder.folder / "stages.json").write_bytes(content)
    with pytest.raises(BadInputError, match=r"stages\.json cannot be read"):
        folder.require("a")
    with pytest.raises(BadInputError, match=r"stages\.json cannot be read"), folder.stage("a"):
        pass


@pytest.mark.parametrize("content", [None, b"", b'{"a": ', b"7"])
def test_a_damaged_json_is_named(folder: RunFolder, content: bytes | None) -> None:
    if content is not None:
        (folder.folder / "metrics.json").write_bytes(content)
    with pytest.raises(BadInputError, match=r"metrics\.json cannot be read .*train the run again"):
        folder.read_json("metrics.json")


def test_arrays_come_back(folder: RunFolder) -> None:
    arrays = {"codes": np.arange(6, dtype=np.int32).reshape(2, 3), "none": np.zeros((0, 2), np.float32)}
    folder.save_arrays("arrays", arrays)
    found = folder.load_arrays("arrays")
    assert {name: (array.dtype, array.tolist()) for name, array in found.items()} == {
        name: (array.dtype, array.tolist()) for name, array in arrays.items()
    }


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "flipped", "noise", "npy"])
def test_damaged_arrays_are_named(folder: RunFolder, damage: str) -> None:
    folder.save_arrays("arrays", {"codes": np.arange(999)})
    path = folder.folder / "arrays.npz"
    whole = path.read_bytes()
    path.unlink()
    flipped = whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:]
    contents = {"empty": b"", "cut": whole[:3000], "flipped": flipped, "noise": b"\xff" * 99, "npy": b"\x93NUMPY"}
    if damage in contents:
        path.write_bytes(contents[damage])
    with pytest.raises(BadInputError, match=r"arrays\.npz cannot be read .*train the run again"):
        folder.load_arrays("arrays")


def test_the_fingerprint_follows_every_byte_that_training_reads(checkerboard: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    (copy / "features").mkdir(parents=True)
    for path in checkerboard.rglob("*.*"):
        (copy / path.relative_to(checkerboard)).write_bytes(path.read_bytes())
    (copy / "notes.txt").write_text("read by nobody")
    assert fingerprint(copy) == fingerprint(checkerboard)
    prints = {fingerprint(copy)}
    (copy / "features" / "text.npy").rename(copy / "features" / "words.npy")
    prints.add(fingerprint(copy))
    for name in ("interactions.parquet", "items.parquet", "features/image.npy"):
        path = copy / name
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        prints.add(fingerprint(copy))
    assert len(prints) == 5
