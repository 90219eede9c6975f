"""The three lists of a run: by hand, and of a run that is trained for some seconds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.ablating.runner import measure_variant
from benchmarks.ablating.variants import with_attention, without_dense_term
from benchmarks.scoring.quality_measurements import TRAINING_STAGES
from benchmarks.scoring.run_figures import at_least_as_wide, dense_share, lists_of
from offline.dataset import load_dataset
from offline.evaluate import Rankings
from offline.recipe_settings import Recipe
from offline.recipes import tiny
from offline.run_folder import RunFolder
from offline.shop import build_shop
from offline.train import train_recipe

INFINITE = np.inf


def rankings_of(items: list[list[int]], log_prob: list[list[float]]) -> Rankings:
    scores = np.arange(len(items[0]), 0, -1, dtype=np.float32) * np.ones((len(items), 1), np.float32)
    return Rankings(
        users=np.arange(len(items)), items=np.array(items), log_prob=np.array(log_prob, np.float32), score=scores
    )


def test_the_generator_orders_the_same_beams_by_its_own_probability() -> None:
    rankings = rankings_of([[4, 7, 9, -1]], [[-3.0, -1.0, -2.0, -0.5]])  # what stands in a dead slot means nothing
    lists = lists_of(rankings, rankings, np.array([[7, 1, 4]]))
    assert lists["served"].items.tolist() == [[4, 7, 9, -1]]
    assert lists["generator"].items.tolist() == [[7, 9, 4, -1]]
    assert lists["generator"].log_probs is not None
    assert lists["generator"].log_probs.tolist() == [[-1.0, -2.0, -3.0, -INFINITE]]
    assert lists["dense"].items.tolist() == [[7, 1, 4]]
    assert lists["dense"].log_probs is None


def test_lists_end_after_twenty() -> None:
    wide = [list(range(50))]
    rankings = rankings_of(wide, [[-float(place) for place in range(50)]])
    lists = lists_of(rankings, rankings, np.arange(20)[None])
    assert {ranked.items.shape for ranked in lists.values()} == {(1, 20)}


@pytest.mark.parametrize(
    ("beams", "dense", "share"),
    [
        ([[1, 2, 3]], [[3, 2, 1]], 1.0),
        ([[1, 2, -1]], [[3, 2, -1]], 0.5),  # -1 is no item on either side
        ([[1, 2], [5, 6]], [[1, 2], [7, 8]], 0.5),
        ([[1, 2], [5, 6]], [[1, 2], [-1, -1]], 1.0),  # who has seen everything is skipped
        ([[1, 2]], [[-1, -1]], 0.0),
    ],
)
def test_share_of_dense_search_in_the_beam(beams: list[list[int]], dense: list[list[int]], share: float) -> None:
    assert dense_share(np.array(beams), np.array(dense)) == share


def test_a_narrow_beam_is_padded_with_dead_slots() -> None:
    rankings = rankings_of([[4, 7]], [[-1.0, -2.0]])
    padded = at_least_as_wide(rankings, 4)
    assert padded.items.tolist() == [[4, 7, -1, -1]]
    assert padded.log_prob.tolist() == [[-1.0, -2.0, -INFINITE, -INFINITE]]
    assert at_least_as_wide(rankings, 2) is rankings


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recipe, Path]:
    """The shop, a recipe of some seconds, and the folder of its finished run."""
    base = tmp_path_factory.mktemp("figures")
    build_shop(base / "shop")
    recipe = tiny(load_dataset(base / "shop"), 0)
    graph = replace(recipe.graph, dim=16, member_dim=16, latent_dim=8, num_steps=20, num_quantizer_steps=30)
    generator = replace(recipe.generator, dim=16, num_heads=2, feedforward_dim=16, num_steps=10)
    recipe = replace(recipe, graph=graph, generator=generator, rec_ids=replace(recipe.rec_ids, min_code_usage=0.0))
    measure_variant(base / "shop", recipe, base / "full", None, None)
    return base / "shop", recipe, base / "full"


def test_a_run_is_scored_with_any_beam_width(trained: tuple[Path, Recipe, Path]) -> None:
    data, recipe, folder = trained
    narrow, usual, whole = (measure_variant(data, recipe, folder, folder, width) for width in (10, None, 320))
    assert [found["beam"]["width"] for found in (narrow, usual, whole)] == [10, 50, 320]
    assert narrow["beam"]["recall"] <= usual["beam"]["recall"] <= whole["beam"]["recall"] == 1.0
    assert narrow["beam"]["dense_share"] <= usual["beam"]["dense_share"] <= whole["beam"]["dense_share"] == 1.0
    assert narrow["lists"]["dense"] == whole["lists"]["dense"]
    assert narrow["lists"]["served"]["recall@20"] == narrow["lists"]["served"]["recall@10"] or narrow["users"] == 0
    assert usual["checks"] == {"illegal": 0.0, "duplicates": 0.0, "seen": 0.0}
    assert usual["users_without_history"] == 0
    assert usual["shared_stages"] == []
    assert usual["peak_bytes"] > 0


def test_a_stage_depends_on_nothing_but_what_decides_who_shares_it(
    trained: tuple[Path, Recipe, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained from nothing, a variant leaves to the byte what it would have taken over from the full recipe."""

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("offline.train.export_decoder", stop)
    data, recipe, folder = trained
    full = RunFolder(folder).read_json("stages.json")
    for change, shared in (
        (without_dense_term, {"graph", "rec_ids", "generator"}),
        (with_attention("plain"), {"graph", "rec_ids"}),
    ):
        alone = RunFolder(tmp_path / str(len(shared)))
        with pytest.raises(KeyboardInterrupt):
            train_recipe(data, load_dataset(data), alone, change(recipe))
        stages = alone.read_json("stages.json")
        assert {name for name, entry in stages.items() if entry["sha256"] == full[name]["sha256"]} == shared


def test_every_stage_of_a_run_counts_as_training_but_its_scoring(trained: tuple[Path, Recipe, Path]) -> None:
    """Else a stage that is added to `train` would cost no minutes in the report."""
    assert set(RunFolder(trained[2]).stage_seconds()) == {*TRAINING_STAGES, "metrics"}
