"""The `train` job: what a run leaves, resuming, determinism, and a dataset without features."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from offline import train as module
from offline.artefacts import load_catalogue, load_text_space
from offline.dataset import Dataset, load_dataset
from offline.errors import BadInputError
from offline.item_features import item_features
from offline.recipe_settings import Recipe
from offline.recipes import tiny
from offline.run_folder import RunFolder
from offline.text_features import item_texts
from offline.train import require_same_dataset, train, train_recipe

STAGES = {"graph", "rec_ids", "generator", "decoder", "metrics"}

TrainUntil = Callable[..., RunFolder]


class StoppedError(RuntimeError):
    """In place of a kill."""


def stop(*_: object) -> None:
    raise StoppedError


def forget(run: RunFolder, *stages: str) -> None:
    """Make stages unfinished, as if the job had been killed in the first of them."""
    kept = {name: seconds for name, seconds in run.stage_seconds().items() if name not in stages}
    run.write_json("stages.json", kept)


def contents(run: RunFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.folder.iterdir() if path.name != "stages.json"}


def test_a_run_says_everything_about_itself(run: RunFolder, dataset: Dataset) -> None:
    assert set(run.stage_seconds()) == STAGES
    described = run.read_json("run.json")
    assert (described["dataset"], described["recipe"]["name"], described["recipe"]["seed"]) == (
        "checkerboard",
        "tiny",
        0,
    )
    report = run.read_json("rec_ids.json")["report"]
    assert report["largest_bucket"] <= 8
    assert min(report["usage"]) >= 0.5
    assert run.read_json("settings.json")["beam_widths"] == [50, 10, 200]
    metrics = run.read_json("metrics.json")
    assert 0 < metrics["train_seconds"] <= sum(run.stage_seconds().values())
    assert load_catalogue(run).trie.num_items == dataset.num_items


def test_onnx_answers_like_torch(run: RunFolder) -> None:
    assert run.read_json("parity.json")["precision"] == "fp32"
    parity = run.read_json("parity.json")["fp32"]
    assert parity["users"] == 60
    assert parity["same_lists"] == 1.0
    assert parity["max_score_difference"] <= 1e-4


def test_a_finished_run_is_only_read(trained, own_run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(own_run)
    for name in ("_make_rec_ids", "train_generator", "_make_decoder", "evaluate_run"):
        monkeypatch.setattr(module, name, stop)
    assert train(trained[0], own_run, "tiny", 0) == own_run.read_json("metrics.json")
    assert contents(own_run) == before


def test_the_last_stage_alone_gives_the_same_metrics(trained, own_run: RunFolder, monkeypatch) -> None:
    before = own_run.read_json("metrics.json")
    forget(own_run, "metrics")
    (own_run.folder / "metrics.json").unlink()
    for name in ("_make_rec_ids", "train_generator", "_make_decoder"):
        monkeypatch.setattr(module, name, stop)
    metrics = train(trained[0], own_run, "tiny", 0)
    assert {name: metrics[name] for name in before if name != "train_seconds"} == {
        name: value for name, value in before.items() if name != "train_seconds"
    }
    assert metrics["train_seconds"] == pytest.approx(before["train_seconds"], abs=0.01)
    assert set(own_run.stage_seconds()) == STAGES


def short(dataset: Dataset, seed: int) -> Recipe:
    """A few steps of everything: enough where quality does not matter."""
    recipe = tiny(dataset, seed)
    return replace(
        recipe,
        graph=replace(recipe.graph, num_steps=20, num_quantizer_steps=20),
        rec_ids=replace(recipe.rec_ids, min_code_usage=0.0),
        generator=replace(recipe.generator, num_steps=10),
    )


@pytest.fixture
def train_until(checkerboard: Path, monkeypatch: pytest.MonkeyPatch) -> TrainUntil:
    """Train the short recipe until a function of `offline.train` is reached, where the job dies."""

    def train_and_die(name: str, folder: Path, *, seed: int = 0, data: Path = checkerboard) -> RunFolder:
        with monkeypatch.context() as patch:
            patch.setitem(module.RECIPES, "tiny", short)
            patch.setattr(module, name, stop)
            with pytest.raises(StoppedError):
                train(data, RunFolder(folder), "tiny", seed)
        return RunFolder(folder)

    return train_and_die


def test_a_run_killed_while_training_ends_with_the_very_same_weights(train_until: TrainUntil, tmp_path: Path) -> None:
    """Nothing of the killed attempt leaks into the next one, and the same seed gives the same run to the last bit."""
    straight = train_until("_make_decoder", tmp_path / "straight")
    killed = train_until("train_generator", tmp_path / "killed")
    assert set(killed.stage_seconds()) == {"graph", "rec_ids"}
    (killed.folder / "generator.safetensors").write_bytes(b"half a fi")
    resumed = train_until("_make_decoder", tmp_path / "killed")
    assert set(resumed.stage_seconds()) == set(straight.stage_seconds()) == {"graph", "rec_ids", "generator"}
    assert contents(resumed) == contents(straight)
    assert "generator.safetensors" in contents(straight)


def test_the_seed_decides_the_rec_ids(train_until: TrainUntil, tmp_path: Path) -> None:
    runs = [train_until("train_generator", tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    first, again, other = (run.load_arrays("rec_ids")["rec_ids"] for run in runs)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_without_features_it_trains_on_text_vectors_and_says_so(
    bare_checkerboard: Path, train_until: TrainUntil, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train_until("train_generator", tmp_path / "run", data=bare_checkerboard)
    dataset = load_dataset(bare_checkerboard)
    said = capsys.readouterr().err
    assert "bare has no features/: using text vectors made from its titles and categories\n" in said
    assert list(run.read_json("graph_rqvae.json")["feature_dims"]) == ["text"]
    vectors = item_features(dataset, tiny(dataset, 0))["text"].numpy()
    space = load_text_space(run)
    assert space is not None
    np.testing.assert_array_equal(space.vectors(item_texts(dataset.titles, dataset.categories)), vectors)
    assert run.read_json("item_encoder.json")["feature_dims"] == {"text": vectors.shape[1]}
    cosine = vectors @ vectors.T / np.outer(np.linalg.norm(vectors, axis=1), np.linalg.norm(vectors, axis=1))
    same = np.equal.outer(np.arange(60) % 2, np.arange(60) % 2) & ~np.eye(60, dtype=bool)
    assert cosine[same].mean() > cosine[~same].mean() + 0.1


@pytest.mark.parametrize(("ordered", "slots", "told"), [(False, 2, True), (False, 1000, False), (True, 2, False)])
def test_of_sets_that_are_cut_it_is_told(
    dataset: Dataset, ordered: bool, slots: int, told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny(dataset, 0)
    recipe = replace(recipe, generator=replace(recipe.generator, max_history=slots))
    module._introduce(replace(dataset, has_time=ordered), recipe)
    assert (f" users have more than {slots} items; without a timestamp" in capsys.readouterr().err) == told


def test_features_of_the_dataset_come_first(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    found = item_features(dataset, tiny(dataset, 0))
    assert {name: tuple(values.shape) for name, values in found.items()} == {"image": (60, 6), "text": (60, 4)}
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("left_out", "kept"), [((), {"image", "text"}), (("image",), {"text"}), (("text", "image"), set())]
)
def test_modalities_can_be_left_out(
    dataset: Dataset, left_out: tuple[str, ...], kept: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Without any of them there is no text instead: what is left out is left out."""
    recipe = tiny(dataset, 0)
    recipe = replace(recipe, graph=replace(recipe.graph, without_modalities=left_out))
    assert item_features(dataset, recipe).keys() == kept
    assert capsys.readouterr().err == ""


def test_another_recipe_of_ones_own_is_another_run(trained, own_run: RunFolder) -> None:
    dataset = load_dataset(trained[0])
    with pytest.raises(BadInputError, match="differs in"):
        train_recipe(trained[0], dataset, own_run, replace(tiny(dataset, 0), beam_widths=(20,)))


def test_a_run_is_scored_on_its_own_dataset_alone(trained, run: RunFolder, tmp_path: Path) -> None:
    require_same_dataset(run, trained[0])
    other = shutil.copytree(trained[0], tmp_path / "other")
    require_same_dataset(run, other)  # a copy is the same data
    (other / "features" / "image.npy").unlink()
    with pytest.raises(BadInputError, match=r"is not the dataset that .* was trained on"):
        require_same_dataset(run, other)


def test_the_files_of_a_run_are_plain(run: RunFolder) -> None:
    """No pickles: JSON, safetensors, npz, ONNX, and the report."""
    assert {path.suffix for path in run.folder.iterdir()} == {".json", ".safetensors", ".npz", ".onnx", ".html"}
    assert json.loads((run.folder / "run.json").read_text())["recipe"]["seed"] == 0
