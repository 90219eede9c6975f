"""One run's folder: a stage that died is redone, a finished one is not, and another run is refused."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from offline.dataset import Dataset
from offline.errors import BadInputError, LockedError
from offline.recipe_settings import Recipe
from offline.recipes import tiny
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


def test_what_a_killed_writer_left_does_no_harm(folder: RunFolder, recipe: Recipe) -> None:
    """A `.part` file is what SIGKILL leaves between writing and renaming."""
    folder.write_json("report.json", {"value": 1})
    (folder.folder / "report.json.77.part").write_text('{"val')
    (folder.folder / "stages.json.77.part").write_text('["a", "b"')
    folder.begin(recipe, "0a1b", "shop")
    assert folder.read_json("report.json") == {"value": 1}
    done: list[str] = []
    do(folder, done, "a")
    folder.write_json("report.json", {"value": 2})
    assert (done, folder.read_json("report.json")) == (["a"], {"value": 2})
    assert sorted(path.name for path in folder.folder.iterdir()) == ["report.json", "run.json", "stages.json"]


def make(run: RunFolder, done: list[str], *names: str) -> None:
    """Like `do`; every stage leaves a file of its name."""
    for name in names:
        with run.stage(name, (name,)) as todo:
            if todo:
                done.append(name)
                (run.folder / name).write_text(f"of {name}")


@pytest.mark.parametrize("content", [None, "of ", "of B"])
@pytest.mark.parametrize("other_process", [False, True])
def test_a_stage_whose_file_changed_is_done_again_and_all_after_it(
    folder: RunFolder, content: str | None, other_process: bool
) -> None:
    make(folder, [], "c", "b", "a")  # in this order, whatever the alphabet says
    (folder.folder / "b").unlink()
    if content is not None:
        (folder.folder / "b").write_text(content)
    done: list[str] = []
    again = RunFolder(folder.folder) if other_process else folder
    make(again, done, "c", "b", "a")
    assert done == ["b", "a"]
    make(again, done, "c", "b", "a")
    assert done == ["b", "a"]


def test_a_kill_while_a_stage_is_mended_leaves_the_later_ones_unfinished(folder: RunFolder) -> None:
    make(folder, [], "a", "b", "c")
    (folder.folder / "b").unlink()
    again, done = RunFolder(folder.folder), []
    make(again, done, "a")
    with pytest.raises(KeyboardInterrupt), again.stage("b", ("b",)):
        raise KeyboardInterrupt
    assert list(again.stage_seconds()) == ["a"]
    make(RunFolder(folder.folder), done, "a", "b", "c")
    assert done == ["b", "c"]


def test_the_stages_of_the_first_version_count_while_their_files_are_there(folder: RunFolder) -> None:
    folder.write_json("stages.json", {"a": 1.5, "b": 2})
    (folder.folder / "a").write_text("")
    assert folder.stage_seconds() == {"a": 1.5, "b": 2.0}
    done: list[str] = []
    make(folder, done, "a", "b")
    assert done == ["b"]


def test_a_run_folder_is_for_one_job_at_a_time(folder: RunFolder) -> None:
    program = (
        "import sys; from pathlib import Path; from offline.run_folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).locked(): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(folder.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == b"held\n"
        message = f"another process trains in {folder.folder}; wait for it or take another --run"
        with pytest.raises(LockedError, match=message), folder.locked():
            pass
        with RunFolder(folder.folder.parent / "other").locked():
            pass
        job.kill()
    with folder.locked():  # a killed job leaves no lock
        pass
    assert list(folder.folder.iterdir()) == []


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
    steps, generator = recipe.generator.num_steps, replace(recipe.generator, num_steps=9)
    for other, sha256, differing in (
        (replace(recipe, seed=1), "0a1b", "recipe.seed: 0 there, 1 asked; another version"),
        (replace(recipe, generator=generator), "0a1b", f"recipe.generator.num_steps: {steps} there, 9 asked; another"),
        (
            replace(recipe, generator=generator, seed=1),
            "ffff",
            "dataset_sha256: '0a1b' there, 'ffff' asked (and 2 more",
        ),
    ):
        with pytest.raises(BadInputError, match=r"take another --run or remove") as caught:
            folder.begin(other, sha256, "shop")
        assert f"holds a run that differs in {differing}" in str(caught.value)
        assert "another version of MMGRec may have other defaults" in str(caught.value)
    assert folder.read_json("run.json")["dataset_sha256"] == "0a1b"


def test_a_field_that_another_version_lacks_is_named(folder: RunFolder, recipe: Recipe) -> None:
    folder.begin(recipe, "0a1b", "shop")
    found = folder.read_json("run.json")
    steps = found["recipe"]["generator"].pop("num_steps")
    folder.write_json("run.json", found)
    with pytest.raises(BadInputError, match=rf"recipe\.generator\.num_steps: None there, {steps} asked;"):
        folder.begin(recipe, "0a1b", "shop")


def test_a_dataset_folder_may_be_renamed(folder: RunFolder, recipe: Recipe) -> None:
    folder.begin(recipe, "0a1b", "shop")
    folder.begin(recipe, "0a1b", "the shop")
    assert folder.read_json("run.json")["dataset"] == "the shop"


def test_encoders_are_written_down_and_may_not_change(folder: RunFolder, recipe: Recipe) -> None:
    folder.begin(recipe, "0a1b", "shop", encoders={"image": "clip-1"})
    folder.begin(recipe, "0a1b", "shop", encoders={"image": "clip-1"})
    assert folder.read_json("run.json")["encoders"] == {"image": "clip-1"}
    with pytest.raises(BadInputError, match=r"encoders\.image: 'clip-1' there, 'clip-2' asked"):
        folder.begin(recipe, "0a1b", "shop", encoders={"image": "clip-2"})
    with pytest.raises(BadInputError, match=r"encoders\.image: 'clip-1' there, None asked"):
        folder.begin(recipe, "0a1b", "shop")


def test_a_run_that_did_not_write_down_its_encoders_goes_on(folder: RunFolder, recipe: Recipe) -> None:
    folder.begin(recipe, "0a1b", "shop")
    earlier = folder.read_json("run.json")
    del earlier["encoders"]
    folder.write_json("run.json", earlier)
    folder.begin(recipe, "0a1b", "shop", encoders={"image": "clip-1"})
    assert folder.read_json("run.json")["encoders"] == {"image": "clip-1"}


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
    with pytest.raises(BadInputError, match=r"stages\.json cannot be read .*; remove .*run and train the run again"):
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
    with np.load(folder.folder / "arrays.npz") as stored:
        assert set(stored.files) == set(arrays)  # an early numpy 2 stores unknown arguments as arrays
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


def test_a_run_folder_in_use_ends_the_job_with_4(job, trained: tuple[Path, Path], own_run: RunFolder) -> None:
    with own_run.locked():
        ended = job("train", "--data", trained[0], "--run", own_run.folder, "--recipe", "tiny")
    assert (ended.code, ended.out, ended.err.count("\n")) == (4, "", 1)
    assert f"another process trains in {own_run.folder}" in ended.err


def test_training_again_mends_a_damaged_run(job, trained: tuple[Path, Path], own_run: RunFolder) -> None:
    """The cure that every message of a damaged file gives."""
    before = own_run.read_json("metrics.json")
    own_run.decoder.write_bytes(own_run.decoder.read_bytes()[:-9] + b"?" * 9)
    found = job("train", "--data", trained[0], "--run", own_run.folder, "--recipe", "tiny").result
    assert own_run.decoder.stat().st_size > 999
    assert found["recall@20"] == before["recall@20"]
    assert job("evaluate", "--data", trained[0], "--run", own_run.folder).result["recall@20"] == before["recall@20"]
