"""`python -m offline`: the map of the jobs, and every bad input as an exit code and one line with the cure."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import redis
import typer

from offline import train as train_module
from offline.__main__ import main
from offline.cli import cli
from offline.errors import CollapsedRecIdsError
from offline.recipes import tiny
from offline.redis_connection import job_lock
from offline.run_folder import RunFolder
from service.contract.redis_keys import RedisKeys

ROOT = Path(__file__).parents[2]
JOBS = typer.main.get_command(cli).commands  # type: ignore[attr-defined]
ALL_JOBS = JOBS | {f"releases {name}": command for name, command in JOBS["releases"].commands.items()}
LOG = {"user_id": ["u", "u", "u", "v"], "item_id": ["a", "b", "c", "a"]}
ITEMS = {"item_id": ["a", "b", "c"], "title": ["Ah", "Be", "Ce"]}


def write(folder: Path, log: dict, items: dict, features: np.ndarray | None = None) -> None:
    (folder / "features").mkdir(parents=True)
    pl.DataFrame(log).write_parquet(folder / "interactions.parquet")
    pl.DataFrame(items).write_parquet(folder / "items.parquet")
    if features is not None:
        np.save(folder / "features" / "image.npy", features.astype(np.float32))


# What is wrong -> (interactions, items, features, what the line must name, the cure it must give)
BAD_DATA = {
    "missing column": ({"user_id": LOG["user_id"]}, ITEMS, None, "interactions.parquet: column 'item_id'", "add it"),
    "missing item id": (LOG, {"title": ITEMS["title"]}, None, "items.parquet: column 'item_id' is missing", "add it"),
    "another row count": (LOG, ITEMS, np.ones((4, 2)), "image.npy: has 4 rows, but items.parquet has 3", "row r must"),
    "unknown item": (LOG | {"item_id": ["a", "b", "zz", "a"]}, ITEMS, None, "row 2: 'zz' is not in", "add the item"),
    "no interactions": (pl.DataFrame(LOG).clear(), ITEMS, None, "interactions.parquet: no interactions", "write one"),
    "no items": (LOG, pl.DataFrame(ITEMS).clear(), None, "items.parquet: no items", "write one row per item"),
    "NaN in a feature": (LOG, ITEMS, np.array([[1, 2], [np.nan, 4], [5, 6]]), "row 1, column 0: NaN", "whole row NaN"),
    "NaN as a time": (
        LOG | {"timestamp": [1.0, 2, np.nan, 4]},
        ITEMS,
        None,
        "'timestamp', row 2: nan",
        "leave the column",
    ),
    "NaN as a weight": (LOG | {"weight": [1.0, 2, 3, np.nan]}, ITEMS, None, "'weight', row 3: nan", "leave the column"),
}


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        (name, problem)
        for name in ("check", "train", "load-histories")
        for problem, (_, _, features, *_) in BAD_DATA.items()
        if name != "load-histories" or features is None  # it does not read them
    ],
)
def test_a_dataset_that_cannot_be_used(job, tmp_path: Path, redis_url: str, name: str, problem: str) -> None:
    log, items, features, named, cure = BAD_DATA[problem]
    data, run = tmp_path / "shop", tmp_path / "run"
    write(data, log, items, features)
    more = {"train": ("--run", run), "load-histories": ("--redis-url", redis_url)}.get(name, ())
    ended = job(name, "--data", data, *more)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1), ended.err
    assert ended.err.startswith(f"error: {data}")
    assert named in ended.err
    assert cure in ended.err
    assert not run.exists()


def test_no_such_dataset(job, tmp_path: Path) -> None:
    ended = job("check", "--data", tmp_path / "nowhere")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "nowhere: no such folder; give the folder that holds interactions.parquet" in ended.err


@pytest.mark.parametrize("name", ["publish", "evaluate"])
def test_no_such_run_and_a_run_that_is_not_finished(
    job, checkerboard: Path, tmp_path: Path, redis_url: str, name: str
) -> None:
    more = ("--data", checkerboard) if name == "evaluate" else ("--redis-url", redis_url)
    started = RunFolder(tmp_path / "started")
    started.folder.mkdir()
    with started.stage("rec_ids"):
        pass
    for folder in (tmp_path / "nowhere", started.folder):
        ended = job(name, "--run", folder, *more)
        assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
        assert f"{folder} holds no finished run: stage " in ended.err
        assert f"run: python -m offline train --data DIR --run {folder}" in ended.err


def test_another_run_stands_in_the_folder(job, trained: tuple[Path, Path], own_run: RunFolder) -> None:
    ended = job("train", "--data", trained[0], "--run", own_run.folder, "--recipe", "tiny", "--seed", "1")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "holds a run that differs in recipe.seed: 0 there, 1 asked; another version" in ended.err
    assert "take another --run or remove that folder" in ended.err


@pytest.mark.parametrize("missing", ["", "items.parquet"])
def test_evaluate_without_the_dataset(job, checkerboard: Path, run: RunFolder, tmp_path: Path, missing: str) -> None:
    data = tmp_path / "data"
    if missing:
        shutil.copytree(checkerboard, data)
        (data / missing).unlink()
    ended = job("evaluate", "--data", data, "--run", run.folder)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith(f"error: {data / missing}: no such f")


def test_a_key_of_another_type_names_the_namespace(job, run: RunFolder, redis_url: str, namespace: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set(RedisKeys(namespace).active, "a string")
    for name, *more in (("releases",), ("rollback",), ("publish", "--run", run.folder)):
        ended = job(name, *more, "--redis-url", redis_url, "--namespace", namespace)
        assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
        assert f"Redis refused a command in namespace {namespace} (WRONGTYPE" in ended.err
        assert "a key of another type is in it: take another --namespace" in ended.err


def test_one_load_of_histories_at_a_time(job, checkerboard: Path, redis_url: str, namespace: str) -> None:
    call = ("load-histories", "--data", checkerboard, "--redis-url", redis_url, "--namespace", namespace)
    keys = RedisKeys(namespace)
    with redis.Redis.from_url(redis_url) as client:
        with job_lock(client, keys, "load-histories"):
            ended = job(*call)
            assert (ended.code, ended.out) == (4, "")
            assert f"another load-histories runs in namespace {namespace}" in ended.err
            assert not client.exists(keys.history("user-00"))
        assert job(*call).result.items() >= {"users": 60, "written": 60, "left_alone": 0}.items()


@pytest.mark.parametrize("name", ["publish", "releases", "rollback", "load-histories"])
def test_redis_is_not_reachable(job, checkerboard: Path, run: RunFolder, name: str) -> None:
    more = {"publish": ("--run", run.folder), "load-histories": ("--data", checkerboard)}.get(name, ())
    ended = job(name, *more, "--redis-url", "redis://:s3cr3t@127.0.0.1:1/0")
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert ended.err.startswith("error: Redis at redis://127.0.0.1:1/0 is not reachable (")
    assert "start it, correct MMGREC_REDIS_URL (--redis-url), or unset it" in ended.err
    assert "s3cr3t" not in ended.err


def test_a_namespace_that_cannot_be_used(job, redis_url: str) -> None:
    ended = job("releases", "--redis-url", redis_url, "--namespace", "a:b")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "namespace 'a:b' is not usable; take letters, digits" in ended.err


def test_collapsed_rec_ids_end_the_job_with_1(job, checkerboard: Path, tmp_path: Path, monkeypatch) -> None:
    """That hardly trained codebooks collapse is for `test_assign`."""

    def hardly_trained(dataset, seed):
        recipe = tiny(dataset, seed)
        return replace(recipe, graph=replace(recipe.graph, num_steps=20, num_quantizer_steps=1))

    def collapsed(*_: object) -> None:
        raise CollapsedRecIdsError("level 1 uses 25% of its 4 codes: take a recipe with fewer codes")

    monkeypatch.setitem(train_module.RECIPES, "tiny", hardly_trained)
    monkeypatch.setattr(train_module, "assign_rec_ids", collapsed)
    ended = job("train", "--data", checkerboard, "--run", tmp_path / "run", "--recipe", "tiny")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.splitlines()[-1].endswith("take a recipe with fewer codes")
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperatures": (0.0,)}, "the loss of the graph encoder became nan"),
        ({"learning_rate": 1e30}, "the keys of the graph encoder are too long"),  # a cosine hides it from the loss
    ],
)
def test_a_training_that_explodes_ends_the_job_with_1(
    job, checkerboard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, float], message: str
) -> None:
    def explosive(dataset, seed):
        recipe = tiny(dataset, seed)
        return replace(recipe, graph=replace(recipe.graph, num_steps=5, **change))

    monkeypatch.setitem(train_module.RECIPES, "tiny", explosive)
    ended = job("train", "--data", checkerboard, "--run", tmp_path / "run", "--recipe", "tiny")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.splitlines()[-1] == f"error: {message}; lower its learning rate in the recipe"


def test_check_says_what_is_in_a_dataset(job, checkerboard: Path) -> None:
    assert job("check", "--data", checkerboard).result == {
        "dataset": "checkerboard",
        "users": 60,
        "items": 60,
        "train": 1380,
        "valid": 180,
        "test": 180,
        "has_time": False,
        "features": {"image": 6, "text": 4},
    }


def test_check_says_what_is_not_used(job, tmp_path: Path) -> None:
    write(tmp_path / "shop", LOG | {"timestamp": [5] * 4}, ITEMS, np.full((3, 2), np.nan))
    ended = job("check", "--data", tmp_path / "shop")
    assert (ended.result["has_time"], ended.result["features"]) == (False, {})
    assert [line.split(": ", 2)[0] for line in ended.err.splitlines()] == ["warning", "warning"]


def test_stop_redis_where_none_runs(job, tmp_path: Path) -> None:
    assert job("stop-redis", "--home", tmp_path / "home").result == {"stopped": False}


def test_the_map_lists_every_job_and_the_exit_codes(job) -> None:
    ended = job("--help")
    assert ended.code == 0
    assert {"check", "train", "evaluate", "publish", "releases", "gc", "rollback", "load-histories"} <= set(JOBS)
    assert all(f"\n  {name} " in ended.out for name in JOBS)
    assert "0 done, 1 failed, 2 bad input, 3 refused by the gate, 4 locked" in " ".join(ended.out.split())


@pytest.mark.parametrize("name", ALL_JOBS)
def test_every_job_explains_its_flags(job, name: str) -> None:
    ended = job(*name.split(), "--help")
    text = " ".join(ended.out.split())
    assert ended.code == 0
    for option in ALL_JOBS[name].params:
        assert option.help, f"{name} {option.name} has no help"
        assert " ".join(option.help.split()) in text
        if option.param_type_name != "option" or option.name == "help":
            continue
        shown = " ".join(
            re.search(rf"^  {option.opts[0]} .*?(?=^  --)", ended.out, re.DOTALL | re.MULTILINE)[0].split()
        )
        assert not option.required or "required]" in shown
        if option.default not in (None, False) and not option.required:
            assert f"default: {option.default}" in shown


@pytest.mark.parametrize("arguments", [("bake",), ("train", "--sed", "1"), ("train",), ("train", "--seed", "-1")])
def test_a_call_that_means_nothing_ends_with_2(job, arguments: tuple[str, ...]) -> None:
    ended = job(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert "Error: " in ended.err


def test_an_unexpected_error_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, checkerboard: Path) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("offline.dataset.load_dataset", broken)
    monkeypatch.setattr(sys, "argv", ["python -m offline", "check", "--data", str(checkerboard)])
    with pytest.raises(ZeroDivisionError):
        main()


def test_the_real_process(tmp_path: Path) -> None:
    """The same through an interpreter of its own, as a user meets it."""
    write(tmp_path / "shop", {"user_id": ["u"]}, ITEMS)
    command = [sys.executable, "-m", "offline", "train", "--data", tmp_path / "shop", "--run", tmp_path / "run"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: {tmp_path / 'shop' / 'interactions.parquet'}: column 'item_id' is missing (columns present: user_id); "
        "rename or add it\n"
    )
