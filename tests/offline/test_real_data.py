"""Real data: lastfm-2k through a recipe cut down to seconds; what the whole recipe reaches is measured elsewhere."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from model.beam_decoder import BeamDecoder as TorchBeamDecoder
from offline.artefacts import load_catalogue, load_generator, load_settings, open_run_decoder
from offline.dataset import Dataset, load_dataset
from offline.parity import check_parity
from offline.recipe_settings import Recipe
from offline.recipes import standard
from offline.run_folder import RunFolder
from offline.train import train_recipe

DATA = Path(os.environ.get("MMGREC_DATA", "../shared/data"))  # from the repository, where pytest starts
LASTFM = (Path(__file__).parents[2] / DATA / "lastfm-2k").resolve()

pytestmark = pytest.mark.skipif(
    not (LASTFM / "interactions.parquet").exists(),
    reason=f"no lastfm-2k at {LASTFM}: point MMGREC_DATA to the folder that holds it",
)


def reduced(dataset: Dataset) -> Recipe:
    recipe = standard(dataset, 0)
    return replace(
        recipe,
        name="reduced",
        graph=replace(recipe.graph, dim=64, latent_dim=32, num_steps=100, num_quantizer_steps=100),
        generator=replace(recipe.generator, dim=64, num_layers=1, feedforward_dim=128, max_history=32, num_steps=120),
    )


@pytest.fixture(scope="module")
def lastfm() -> Dataset:
    return load_dataset(LASTFM)


@pytest.fixture(scope="module")
def lastfm_run(lastfm: Dataset, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = RunFolder(tmp_path_factory.mktemp("lastfm") / "run")
    train_recipe(LASTFM, lastfm, run, reduced(lastfm))
    return run


def test_onnx_answers_like_torch(lastfm: Dataset, lastfm_run: RunFolder) -> None:
    weight = load_settings(lastfm_run).dense_weight
    torch_decoder = TorchBeamDecoder(load_generator(lastfm_run), weight).eval()
    catalogue = load_catalogue(lastfm_run)
    parity = check_parity(torch_decoder, open_run_decoder(lastfm_run), catalogue, lastfm, max_users=300)
    assert parity.users == 300
    assert parity.same_lists >= 0.999
    assert parity.max_score_difference <= 1e-4


def test_no_answer_is_illegal_repeated_or_seen(lastfm: Dataset, lastfm_run: RunFolder) -> None:
    metrics = lastfm_run.read_json("metrics.json")
    assert (metrics["illegal"], metrics["duplicates"], metrics["seen"]) == (0, 0, 0)
    assert metrics["users"] == len(set(lastfm.test.users.tolist())) == 1858


def test_a_minute_of_training_beats_popularity_clearly(lastfm_run: RunFolder) -> None:
    metrics = lastfm_run.read_json("metrics.json")
    assert metrics["popularity_recall@20"] == pytest.approx(0.1229, abs=1e-3)
    assert metrics["recall@20"] > 2 * metrics["popularity_recall@20"]
    assert metrics["ndcg@20"] > 2 * metrics["popularity_ndcg@20"]
    assert metrics["generator_recall@20"] > 1.2 * metrics["popularity_recall@20"]


def test_the_rec_ids_of_real_items_spread(lastfm_run: RunFolder) -> None:
    report = lastfm_run.read_json("rec_ids.json")["report"]
    assert report["largest_bucket"] <= 8
    assert report["unique_share"] > 0.5
    assert min(report["usage"]) >= 0.5
