"""A training that cannot fit is refused before it starts, with figures that follow from the sizes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from offline import available_memory, memory_needs
from offline.available_memory import available_bytes
from offline.dataset import load_dataset
from offline.errors import BadInputError
from offline.memory_needs import require_memory, training_bytes
from offline.recipes import standard, tiny
from offline.run_folder import RunFolder
from offline.train import train


def test_what_the_graph_encoder_needs_by_hand(checkerboard: Path) -> None:
    dataset = load_dataset(checkerboard)
    recipe = tiny(dataset, 0)
    # Candidates cost nothing here, the generator less: 2 tables, 4 copies each, 2 + 1 layers with gradients.
    recipe = replace(
        recipe, graph=replace(recipe.graph, max_candidates=0), generator=replace(recipe.generator, batch_users=0)
    )
    table = dataset.num_items * recipe.graph.dim * 4
    columns = sum(values.shape[1] for values in dataset.features.values())
    expected = 2 * columns * dataset.num_items * 4 + 2 * 4 * table + 2 * 2 * 3 * table
    assert training_bytes(dataset, recipe) == expected


def test_text_vectors_that_the_job_makes_count_as_features(bare_checkerboard: Path) -> None:
    """And what the recipe leaves out does not."""
    dataset = load_dataset(bare_checkerboard)
    recipe = tiny(dataset, 0)
    silent = replace(dataset, titles=("",) * 60, categories=((),) * 60)
    text = training_bytes(dataset, recipe) - training_bytes(silent, recipe)
    assert text == 2 * recipe.graph.text_dim * dataset.num_items * 4
    brought = replace(silent, features={"image": np.ones((60, 7), np.float32), "audio": np.ones((60, 3), np.float32)})
    without = replace(recipe, graph=replace(recipe.graph, without_modalities=("image",)))
    assert training_bytes(brought, recipe) - training_bytes(brought, without) == 2 * 7 * 60 * 4


def test_members_train_side_by_side(checkerboard: Path) -> None:
    dataset = load_dataset(checkerboard)
    recipe = tiny(dataset, 0)
    twice = replace(recipe, graph=replace(recipe.graph, members=recipe.graph.members * 2))
    features = 2 * 10 * dataset.num_items * 4
    assert training_bytes(dataset, twice) - features == 2 * (training_bytes(dataset, recipe) - features)


def test_ease_needs_two_squares_and_its_blocks_while_it_may_teach(checkerboard: Path) -> None:
    sets = load_dataset(checkerboard)
    sets = replace(sets, item_ids=sets.item_ids * 100)
    recipe = tiny(sets, 0)
    recipe = replace(recipe, graph=replace(recipe.graph, max_candidates=0))
    without = replace(recipe, generator=replace(recipe.generator, ease_weights=(0.0,)))
    teacher = 2 * 2 * 6000 * recipe.graph.dim * 4 + recipe.generator.batch_users * 6000 * 40
    ease = 2 * 4 * 6000**2 + 4 * min(128 * 2**20, 4 * 6000**2)
    features = 2 * 10 * 6000 * 4
    assert training_bytes(sets, recipe) == features + teacher + ease
    assert training_bytes(sets, without) < training_bytes(sets, recipe)
    timed = replace(sets, has_time=True)
    assert training_bytes(timed, recipe) == training_bytes(timed, without)
    many = replace(sets, item_ids=sets.item_ids * 2)
    assert training_bytes(many, recipe) == training_bytes(many, without)  # EASE does not teach so many


def test_more_items_need_more(checkerboard: Path) -> None:
    dataset = load_dataset(checkerboard)
    needs = []
    for factor in (1, 10, 100):
        larger = replace(dataset, item_ids=dataset.item_ids * factor)
        needs.append(training_bytes(larger, standard(larger, 0)))
    assert needs[0] < needs[1] < needs[2]


def test_ten_million_items_are_refused_where_they_do_not_fit(
    checkerboard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = load_dataset(checkerboard)
    huge = replace(dataset, item_ids=dataset.item_ids[:1] * 10_000_000)
    monkeypatch.setattr(memory_needs, "available_bytes", lambda: 16 * 2**30)
    with pytest.raises(BadInputError, match=r"10000000 items with recipe 'standard' need about \d\d.*16.0 GiB to give"):
        require_memory(huge, standard(huge, 0))


def test_fewer_interactions_never_need_more(checkerboard: Path) -> None:
    """Nearly all of a million items without interactions: not refused on a machine that trains them with many."""
    dataset = load_dataset(checkerboard)
    large, needs = replace(dataset, item_ids=dataset.item_ids[:1] * 1_000_000), []
    for count in (1_800, 200_000, 2_000_000):
        known = replace(large, train=large.train._replace(users=np.zeros(count, np.int64)))
        needs.append(training_bytes(known, standard(known, 0)))
    assert needs[0] <= needs[1] <= needs[2] < 16 * 2**30


def test_the_cures_are_those_that_there_are(checkerboard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No flag makes a recipe smaller but --recipe; tiny is named where it fits, and not to those who have it."""
    dataset = load_dataset(checkerboard)
    huge = replace(dataset, item_ids=dataset.item_ids[:1] * 1_000_000)
    small = training_bytes(huge, tiny(huge, 0))
    for available, recipe, cures in (
        (small, standard, f"with more memory, or take --recipe tiny, which needs about {small / 2**30:.1f} GiB"),
        (small - 1, standard, "interacted with, or take a machine with more memory"),
        (small - 1, tiny, "interacted with, or take a machine with more memory"),
    ):
        monkeypatch.setattr(memory_needs, "available_bytes", lambda available=available: available)
        with pytest.raises(BadInputError) as caught:
            require_memory(huge, recipe(huge, 0))
        assert str(caught.value).endswith(cures)


def test_the_job_asks_before_it_writes(checkerboard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_needs, "available_bytes", lambda: 1024)
    with pytest.raises(BadInputError, match="GiB of memory"):
        train(checkerboard, RunFolder(tmp_path / "run"), "tiny", 0)
    assert not (tmp_path / "run").exists()


def test_this_machine_has_memory() -> None:
    assert 2**28 < available_bytes() < 2**50


def test_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(available_memory, "MEMORY_INFO", tmp_path / "none")
    assert available_bytes() > 2**28
