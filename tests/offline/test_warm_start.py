"""A run that starts from the one before: what it takes over, what stays where it was, and what it refuses."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from offline import train as module
from offline.dataset import load_dataset
from offline.errors import BadInputError, CollapsedRecIdsError
from offline.previous_run import PreviousRun
from offline.recipe_settings import Recipe, WarmSettings
from offline.recipes import tiny
from offline.run_folder import RunFolder
from offline.train import train_recipe
from tests.offline.conftest import SIZE, TrainUntil, item_id, user_id

STILL = WarmSettings(graph_steps=0.02, graph_learning_rate=0.0, generator_steps=0.02)
"""Nothing is learned of the new data: what moves then was moved by taking over alone."""


def still(recipe: Recipe) -> Recipe:
    return replace(recipe, warm=STILL)


def short(recipe: Recipe) -> Recipe:
    return replace(recipe, warm=WarmSettings(graph_steps=0.05, generator_steps=0.02))


@pytest.fixture(scope="module")
def tomorrow(trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkerboard with its items in another order and one new item in front, which nobody has had yet."""
    folder = tmp_path_factory.mktemp("tomorrow") / "data"
    (folder / "features").mkdir(parents=True)
    dataset = load_dataset(trained[0])
    parts = {"train": dataset.train, "valid": dataset.valid, "test": dataset.test}
    rows = [
        (user_id(user), item_id(item), split) for split, part in parts.items() for user, item in zip(*part, strict=True)
    ]
    # The split as it was: one that is made again would follow the order of the items.
    pl.DataFrame(rows, ["user_id", "item_id", "split"], orient="row").write_parquet(folder / "interactions.parquet")
    items = pl.read_parquet(trained[0] / "items.parquet")
    new = pl.DataFrame({"item_id": ["new"], "title": ["The even thing 60"], "categories": [["even", "thing"]]})
    pl.concat([new, items.reverse()]).write_parquet(folder / "items.parquet")
    for name in ("image", "text"):
        values = np.load(trained[0] / "features" / f"{name}.npy")
        np.save(folder / "features" / f"{name}.npy", np.concatenate([values[:1], values[::-1]]))
    return folder


def contents(run: RunFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.folder.iterdir() if path.name != "stages.json"}


def rec_ids(run: RunFolder, data: Path) -> dict[str, tuple[int, ...]]:
    found = run.load_arrays("rec_ids")["rec_ids"].tolist()
    return dict(zip(load_dataset(data).item_ids, map(tuple, found), strict=True))


def test_where_nothing_changed_every_item_keeps_its_rec_id(
    until: TrainUntil, trained: tuple[Path, Path], run: RunFolder, tmp_path: Path
) -> None:
    warm = until("_make_generator", trained[0], tmp_path / "warm", run, still)
    assert rec_ids(warm, trained[0]) == rec_ids(run, trained[0])
    found = warm.read_json("rec_ids.json")
    assert (found["report"]["kept_codes_share"], found["report"]["kept_rec_ids_share"]) == (1.0, 1.0)
    assert found["codebooks"] == "kept"
    keys, before = (each.load_arrays("vectors")["keys"] for each in (warm, run))
    np.testing.assert_allclose(keys, before, atol=1e-3)
    cold = run.read_json("rec_ids.json")
    assert (cold["codebooks"], cold["report"]["kept_codes_share"]) == ("new", None)


def test_a_new_item_disturbs_nobody(
    until: TrainUntil, trained: tuple[Path, Path], tomorrow: Path, run: RunFolder, tmp_path: Path
) -> None:
    """Items are known by id, wherever their rows are."""
    warm = until("_make_generator", tomorrow, tmp_path / "warm", run, still)
    before, after = rec_ids(run, trained[0]), rec_ids(warm, tomorrow)
    assert {item: after[item] for item in before} == before
    # It looks like item 0, which is an even thing.
    keys = dict(zip(after, warm.load_arrays("vectors")["keys"], strict=True))
    nearness = {item: float(keys["new"] @ keys[item]) for item in before}
    assert max(nearness, key=nearness.__getitem__) in {item_id(row) for row in range(0, SIZE, 2)}


def test_a_killed_run_ends_with_the_very_same_weights(
    until: TrainUntil, tomorrow: Path, run: RunFolder, tmp_path: Path
) -> None:
    straight = until("_make_decoder", tomorrow, tmp_path / "straight", run, short)
    for name in ("_make_rec_ids", "_make_generator", "_make_decoder"):
        moved = RunFolder(shutil.copytree(run.folder, tmp_path / f"previous{name}"))  # elsewhere, the same start
        killed = until(name, tomorrow, tmp_path / "killed", moved, short)
    assert contents(killed) == contents(straight)
    assert {"generator.safetensors", "losses.graph.json", "losses.rec_ids.json"} < contents(straight).keys()
    assert straight.read_json("run.json")["warm_start"] == PreviousRun(run).digest
    steps = straight.read_json("losses.graph.json")["graph encoder, temperature 0.3"]["steps"][-1]
    assert steps == round(0.05 * tiny(load_dataset(tomorrow), 0).graph.num_steps)


def test_a_warm_generator_begins_where_the_last_one_ended(
    until: TrainUntil, tomorrow: Path, run: RunFolder, tmp_path: Path
) -> None:
    warm = until("_make_decoder", tomorrow, tmp_path / "warm", run, short)
    first = warm.read_json("losses.generator.json")["generator"]["loss"][0]
    cold = run.read_json("losses.generator.json")["generator"]["loss"]
    assert first < np.mean([cold[0], cold[-1]])


def test_another_start_is_another_run(
    until: TrainUntil, trained: tuple[Path, Path], run: RunFolder, own_run: RunFolder, tmp_path: Path
) -> None:
    until("_make_rec_ids", trained[0], tmp_path / "warm", run, still)
    with pytest.raises(BadInputError, match=r"holds a run that differs in warm_start: '[0-9a-f]{64}' there, None ask"):
        until("_make_rec_ids", trained[0], tmp_path / "warm", None, still)
    digest = PreviousRun(own_run).digest
    own_run.write_json("teacher.json", {"co_teacher_share": 0.5, "sequence_share": None})
    own_run.record("generator", ("generator.safetensors", "generator.json", "teacher.json"), 1.0)
    assert PreviousRun(own_run).digest != digest


@pytest.mark.parametrize(
    "name", ["graph_encoder.safetensors", "vectors.npz", "graph_rqvae.json", "item_table.npz", "generator.safetensors"]
)
@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_a_damaged_start_is_named(
    job, trained: tuple[Path, Path], own_run: RunFolder, tmp_path: Path, name: str, damage: str
) -> None:
    path = own_run.folder / name
    whole = path.read_bytes()
    path.unlink()
    if damage == "flipped":
        path.write_bytes(whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:])
    ended = job("train", "--data", trained[0], "--run", tmp_path / "new", "--warm-start", own_run.folder)
    assert (ended.code, ended.out) == (2, "")
    assert f"{path} cannot be read" in ended.err
    assert not (tmp_path / "new").exists()


def test_an_unfinished_run_is_no_start(trained: tuple[Path, Path], own_run: RunFolder, tmp_path: Path) -> None:
    own_run.reopen("generator")
    dataset = load_dataset(trained[0])
    new = RunFolder(tmp_path / "new")
    with pytest.raises(BadInputError, match=r"stage 'generator' is missing"):
        train_recipe(trained[0], dataset, new, tiny(dataset, 0), previous=own_run)
    with pytest.raises(BadInputError, match=r"stage 'graph' is missing"):
        train_recipe(trained[0], dataset, new, tiny(dataset, 0), previous=RunFolder(tmp_path / "nowhere"))
    with pytest.raises(BadInputError, match=r"cannot start from itself; give the new run a folder of its own"):
        train_recipe(trained[0], dataset, own_run, tiny(dataset, 0), previous=own_run)


def test_another_shape_starts_cold_and_says_why(
    until: TrainUntil,
    trained: tuple[Path, Path],
    run: RunFolder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Then it is the run that it would have been without a start, to the last bit."""

    def narrow(recipe: Recipe) -> Recipe:
        graph = replace(recipe.graph, dim=32, member_dim=32, num_steps=10, num_quantizer_steps=10)
        rec_ids = replace(recipe.rec_ids, min_code_usage=0.0)
        return replace(recipe, graph=graph, rec_ids=rec_ids, generator=replace(recipe.generator, num_steps=3))

    cold = until("_make_decoder", trained[0], tmp_path / "cold", None, narrow)
    capsys.readouterr()
    warm = until("_make_decoder", trained[0], tmp_path / "warm", run, narrow)
    said = capsys.readouterr().err
    for line in (
        "graph encoder: starts cold, because dim is 64 there and 32 here\n",
        "codes: start cold, because dim is 64 there and 32 here\n",
        "generator: starts cold, because vector_dim is 128 there and 64 here\n",
    ):
        assert said.count(line) == 1
    weights = [name for name in contents(cold) if name.endswith(".safetensors")]
    assert {name: contents(warm)[name] for name in weights} == {name: contents(cold)[name] for name in weights}
    assert warm.read_json("rec_ids.json")["codebooks"] == "new"


def test_other_layers_keep_the_codebooks(
    until: TrainUntil, trained: tuple[Path, Path], run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The graph encoder starts cold, but its keys are turned towards the old ones."""

    def one_layer(recipe: Recipe) -> Recipe:
        return replace(still(recipe), graph=replace(recipe.graph, num_layers=1))

    warm = until("_make_generator", trained[0], tmp_path / "warm", run, one_layer)
    said = capsys.readouterr().err
    assert "graph encoder: starts cold, because num_graph_layers is 2 there and 1 here; its keys are turned" in said
    keys, before = (each.load_arrays("vectors")["keys"] for each in (warm, run))
    assert (keys * before).sum(1).mean() > 0.5
    assert "codes: start from the codebooks of the previous run\n" in said
    assert warm.read_json("rec_ids.json")["report"]["kept_codes_share"] > 0.5


def test_other_codebooks_leave_the_generator_what_is_no_matter_of_tokens(
    until: TrainUntil, trained: tuple[Path, Path], run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fewer_codes(recipe: Recipe) -> Recipe:
        rec_ids = replace(recipe.rec_ids, codebook_size=8, min_code_usage=0.0)
        return replace(
            still(recipe), rec_ids=rec_ids, graph=replace(recipe.graph, num_steps=50, num_quantizer_steps=60)
        )

    warm = until("_make_decoder", trained[0], tmp_path / "warm", run, fewer_codes)
    said = capsys.readouterr().err
    assert "codes: start cold, because codebook_size is 16 there and 8 here\n" in said
    assert "generator: starts from the previous one, but for its tokens, which are new\n" in said
    assert warm.read_json("rec_ids.json")["codebooks"] == "new"


def test_codebooks_that_no_longer_do_are_made_anew(
    until: TrainUntil,
    trained: tuple[Path, Path],
    run: RunFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assign = module.assign_rec_ids

    def collapsed_if_warm(*arguments: Any) -> Any:
        if arguments[-1] is not None:
            raise CollapsedRecIdsError("level 0 uses 3%")
        return assign(*arguments)

    monkeypatch.setattr(module, "assign_rec_ids", collapsed_if_warm)
    warm = until("_make_generator", trained[0], tmp_path / "warm", run, still)
    assert (
        "start cold after all, because the previous codebooks no longer do: level 0 uses 3%" in capsys.readouterr().err
    )
    assert warm.read_json("rec_ids.json")["codebooks"] == "new"


@pytest.mark.parametrize("changes", [{"graph_steps": 1.5}, {"quantizer_steps": -0.1}, {"code_margin": -1.0}])
def test_shares_are_shares(changes: dict[str, float]) -> None:
    name, value = next(iter(changes.items()))
    with pytest.raises(ValueError, match=f"{name}={value}"):
        WarmSettings(**changes)
