"""A run on ordered histories from end to end: its sequence encoder in the exported graph and in what judges it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.scoring.run_figures import score_run
from offline import train as train_module
from offline.artefacts import load_catalogue, load_generator, open_run_decoder
from offline.dataset import Dataset, held_out_users, load_dataset
from offline.dense_search import dense_ranking, moved_by
from offline.evaluate import rank_users
from offline.metrics import ranking_metrics
from offline.parity import check_parity
from offline.precision import export_run
from offline.recipe_settings import Recipe, WarmSettings
from offline.recipes import tiny
from offline.run_folder import RunFolder
from offline.train import TorchBeamDecoder, evaluate_run, train_recipe
from tests.offline.conftest import item_id, user_id, write_dataset


class StoppedError(RuntimeError):
    """In place of a kill."""


def stop(*_: object) -> None:
    raise StoppedError


NUM_ITEMS, NUM_USERS, LENGTH = 24, 60, 6


def brief(dataset: Dataset) -> Recipe:
    """`tiny` with a sequence encoder that moves states well away from where they were."""
    recipe = tiny(dataset, 0)
    sequence = {"num_sequence_steps": 60, "sequence_learning_rate": 1e-2, "sequence_teacher_weight": 0.0}
    return replace(
        recipe,
        graph=replace(recipe.graph, num_steps=40, num_quantizer_steps=40),
        rec_ids=replace(recipe.rec_ids, min_code_usage=0.0),
        generator=replace(recipe.generator, num_steps=40, **sequence),
    )


@pytest.fixture(scope="module")
def ordered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Dataset and run folder: users walk round a ring of items, each with a stride of 1, 2 or 3."""
    base = tmp_path_factory.mktemp("ordered")
    walks = [[(user + (1 + user % 3) * step) % NUM_ITEMS for step in range(LENGTH)] for user in range(NUM_USERS)]
    log = [(user_id(user), item_id(item), 1000 * at) for user, walk in enumerate(walks) for at, item in enumerate(walk)]
    columns = dict(zip(("user_id", "item_id", "timestamp"), map(list, zip(*log, strict=True)), strict=True))
    data = write_dataset(base / "data", columns, {"item_id": [item_id(row) for row in range(NUM_ITEMS)]})
    dataset = load_dataset(data)
    train_recipe(data, dataset, RunFolder(base / "run"), brief(dataset))
    return data, base / "run"


@pytest.fixture
def run(ordered: tuple[Path, Path], tmp_path: Path) -> RunFolder:
    return RunFolder(shutil.copytree(ordered[1], tmp_path / "run"))


@pytest.fixture(scope="module")
def dataset(ordered: tuple[Path, Path]) -> Dataset:
    return load_dataset(ordered[0])


def dense_metrics(run: RunFolder, dataset: Dataset, *, moved: bool) -> dict[str, float]:
    catalogue, users = load_catalogue(run), held_out_users(dataset, "test")
    move = moved_by(load_generator(run).sequence_encoder, catalogue.items) if moved else None
    found = dense_ranking(catalogue.history_state, catalogue.vectors, dataset, users, "test", move=move)
    return ranking_metrics(found, users, dataset.targets("test"))


def test_it_was_trained_and_moves_states(run: RunFolder, dataset: Dataset) -> None:
    generator = load_generator(run)
    assert generator.config.num_sequence_layers == 1
    assert generator.sequence_encoder is not None
    assert generator.sequence_encoder.move.weight.abs().max() > 1e-2
    assert "sequence encoder" in run.read_json("losses.generator.json")


def test_what_judges_a_run_searches_by_the_moved_states(run: RunFolder, dataset: Dataset) -> None:
    """With an encoder that turns them about, so that nobody could take the one for the other."""
    generator = load_generator(run)
    assert generator.sequence_encoder is not None
    torch.manual_seed(0)
    torch.nn.init.normal_(generator.sequence_encoder.move.weight, std=2.0)
    run.save_checkpoint(generator, generator.config, run.generator)
    expected = dense_metrics(run, dataset, moved=True)
    assert expected != dense_metrics(run, dataset, moved=False)
    metrics, _ = evaluate_run(dataset, run, "test")
    assert {name: metrics[f"dense_{name}"] for name in expected} == expected
    figures = score_run(dataset, run).lists["dense"]
    assert {name: figures[name] for name in expected} == pytest.approx(expected)


def test_the_exported_graph_moves_them_as_torch_does(run: RunFolder, dataset: Dataset) -> None:
    """And not as the weighted sum would have it: another encoder in torch, and the two no longer agree."""
    catalogue, generator, decoder = load_catalogue(run), load_generator(run), open_run_decoder(run)
    weight = decoder.settings.dense_weight or 1.0
    assert check_parity(TorchBeamDecoder(generator, weight), decoder, catalogue, dataset).same_lists == 1.0
    scores = rank_users(decoder, dataset, "test", beam_width=20).score
    assert generator.sequence_encoder is not None
    torch.nn.init.zeros_(generator.sequence_encoder.move.weight)
    torch.nn.init.zeros_(generator.sequence_encoder.move.bias)
    with pytest.raises(Exception, match=r"differ|parity|agree"):
        check_parity(TorchBeamDecoder(generator, weight), decoder, catalogue, dataset)
    assert np.isfinite(scores).any()


def test_a_warm_start_goes_on_from_it(
    ordered: tuple[Path, Path], dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the share that was chosen there, fewer steps, and weights that have hardly gone anywhere."""
    still = WarmSettings(graph_steps=0.02, graph_learning_rate=0.0, generator_steps=0.02)
    monkeypatch.setattr(train_module, "_make_decoder", stop)
    second = RunFolder(tmp_path / "second")
    with pytest.raises(StoppedError):
        train_recipe(ordered[0], dataset, second, replace(brief(dataset), warm=still), RunFolder(ordered[1]))
    runs = (RunFolder(ordered[1]), second)
    steps = [run.read_json("losses.generator.json")["sequence encoder"]["steps"][-1] for run in runs]
    assert steps == [60, 1]
    before, after = (load_generator(run).sequence_encoder for run in runs)
    assert before is not None
    assert after is not None
    assert (before.share, after.share) == (0.5, 0.5)
    moved = (before.move.weight - after.move.weight).norm()
    assert moved < 0.2 * before.move.weight.norm()


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_other_precisions(run: RunFolder, dataset: Dataset, precision: Any) -> None:
    assert export_run(dataset, run, precision)["overlap@20"] >= 0.95


def test_a_run_of_before_there_were_sequence_encoders_is_judged_as_ever(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    older = RunFolder(shutil.copytree(trained[1], tmp_path / "older"))
    path = older.generator.with_suffix(".json")
    config = json.loads(path.read_text())
    assert config.pop("num_sequence_layers") == 0
    path.write_text(json.dumps(config))
    dataset = load_dataset(trained[0])
    metrics, _ = evaluate_run(dataset, older, "test")
    assert metrics["dense_recall@20"] == older.read_json("metrics.json")["dense_recall@20"]
