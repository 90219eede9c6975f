"""Data that has little to say: every dataset that passes the door trains with `standard` and `paper`, or is refused.

Whole runs, from a folder on disk through to an answer, but for the last export, which two of them go through as well.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
import torch

from offline.artefacts import Catalogue
from offline.dataset import Dataset, load_dataset
from offline.item_features import item_features
from offline.recipe_settings import Recipe
from offline.recipes import RECIPES
from offline.run_folder import RunFolder
from offline.teacher import Teacher
from offline.teacher_choice import choose_teacher
from offline.train import train_recipe
from offline.train_generator import train_generator
from offline.train_graph_rqvae import train_graph
from tests.offline.conftest import catalogue_of

NUM_ITEMS, NUM_USERS = 40, 30
Lists = list[list[int]]


@dataclass(kw_only=True)
class Poor:
    """A dataset that is to be written: lists of item rows, oldest first, and what is known of the items."""

    lists: Lists
    num_items: int = NUM_ITEMS
    features: dict[str, npt.NDArray[np.float32]]
    titles: bool = False

    def write(self, folder: Path, *, has_time: bool) -> Path:
        (folder / "features").mkdir(parents=True)
        for name, values in self.features.items():
            np.save(folder / "features" / f"{name}.npy", values)
        if not self.features:
            (folder / "features").rmdir()
        pairs = [(user, item, place) for user, items in enumerate(self.lists) for place, item in enumerate(items)]
        log = {"user_id": [f"u{user}" for user, _, _ in pairs], "item_id": [f"i{item}" for _, item, _ in pairs]}
        if has_time:
            log["timestamp"] = [place for _, _, place in pairs]
        pl.DataFrame(log).write_parquet(folder / "interactions.parquet")
        items: dict[str, list[str]] = {"item_id": [f"i{item}" for item in range(self.num_items)]}
        if self.titles:
            items["title"] = [f"{['red', 'blue'][item % 2]} thing" for item in range(self.num_items)]
        pl.DataFrame(items).write_parquet(folder / "items.parquet")
        return folder


def random_lists(num_items: int = NUM_ITEMS, num_users: int = NUM_USERS, length: int = 6) -> Lists:
    random = np.random.default_rng(0)
    return [random.choice(num_items, min(length, num_items), replace=False).tolist() for _ in range(num_users)]


def noise(num_items: int = NUM_ITEMS, columns: int = 5) -> npt.NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=(num_items, columns)).astype(np.float32)


def almost_absent() -> npt.NDArray[np.float32]:
    values = np.full((NUM_ITEMS, 5), np.nan, np.float32)
    values[7] = 1.0
    return values


CASES: dict[str, Callable[[], Poor]] = {
    "one modality": lambda: Poor(lists=random_lists(), features={"image": noise()}),
    "no modality, but titles": lambda: Poor(lists=random_lists(), features={}, titles=True),
    "no modality and no text": lambda: Poor(lists=random_lists(), features={}),
    "constant features": lambda: Poor(lists=random_lists(), features={"image": np.ones((NUM_ITEMS, 4), np.float32)}),
    "a modality of one item": lambda: Poor(lists=random_lists(), features={"image": almost_absent(), "text": noise()}),
    "one column": lambda: Poor(lists=random_lists(), features={"image": noise(columns=1)}),
    "huge numbers": lambda: Poor(lists=random_lists(), features={"image": noise() * np.float32(1e15)}),
    "single interactions": lambda: Poor(lists=random_lists(length=1), features={"image": noise()}),
    "single interactions and one that is not": lambda: Poor(
        lists=[*random_lists(length=1), [3, 1, 4, 5, 9]], features={"image": noise()}
    ),
    "two interactions": lambda: Poor(lists=random_lists(length=2), features={"image": noise()}),
    "most items without interactions": lambda: Poor(lists=random_lists(8, length=5), features={"image": noise()}),
    "all equally popular": lambda: Poor(
        lists=[[(user + step) % NUM_ITEMS for step in (0, 1, 5, 12)] for user in range(NUM_ITEMS)],
        features={"image": noise()},
    ),
    "10 items": lambda: Poor(lists=random_lists(10), num_items=10, features={"image": noise(10)}),
    "10 items that everybody has": lambda: Poor(lists=[list(range(10))] * 12, num_items=10, features={}),
    "one user": lambda: Poor(lists=random_lists(num_users=1), features={"image": noise()}),
    "one interaction": lambda: Poor(lists=[[3]], features={"image": noise()}),
    "one item": lambda: Poor(lists=[[0]] * 5, num_items=1, features={}),
    "the same again and again": lambda: Poor(
        lists=[[item for item in items for _ in range(3)] for items in random_lists()], features={"image": noise()}
    ),
}


def short(recipe: Recipe, **graph: Any) -> Recipe:
    """A few steps of everything, but of a quantizer that has a floor to keep."""
    quantizer_steps = recipe.graph.num_quantizer_steps if recipe.rec_ids.min_code_usage else 12
    return replace(
        recipe,
        graph=replace(recipe.graph, num_steps=6, num_quantizer_steps=quantizer_steps, **graph),
        generator=replace(recipe.generator, num_steps=3),
    )


def train_shortly(dataset: Dataset, recipe: Recipe) -> Catalogue:
    catalogue = catalogue_of(dataset, recipe)
    generator = train_generator(
        dataset, catalogue, recipe, choose_teacher(dataset, catalogue, recipe.generator, 0).teacher
    )
    assert all(weight.isfinite().all() for weight in generator.state_dict().values())
    return catalogue


def check_catalogue(catalogue: Catalogue, dataset: Dataset) -> None:
    """Everything is finite, every history has a state, and the teacher says something of each."""
    assert catalogue.trie.num_items == dataset.num_items
    keys, contexts = catalogue.vectors
    assert keys.isfinite().all()
    assert contexts.isfinite().all()
    assert torch.allclose(keys.norm(dim=1), torch.ones(dataset.num_items), atol=1e-4)
    recency = catalogue.history_state.recency
    assert recency.isfinite().all()
    assert (recency > 0).all()
    history = torch.tensor([[0], [-1], [dataset.num_items - 1]])
    state = catalogue.history_state(contexts[history.clamp(min=0)], (history >= 0).float())
    assert torch.allclose(state.norm(dim=1), torch.ones(3), atol=1e-4)
    probabilities = Teacher(keys, catalogue.trie, 0.1).probabilities(state, history)
    assert torch.allclose(probabilities.sum(1), torch.ones(3), atol=1e-4)


@pytest.mark.parametrize("has_time", [False, True])
@pytest.mark.parametrize("recipe", ["standard", "paper"])
@pytest.mark.parametrize("case", CASES)
def test_poor_data_trains(tmp_path: Path, case: str, recipe: str, has_time: bool) -> None:
    dataset = load_dataset(CASES[case]().write(tmp_path / "data", has_time=has_time))
    assert dataset.has_time == has_time
    check_catalogue(train_shortly(dataset, short(RECIPES[recipe](dataset, 0))), dataset)


@pytest.mark.parametrize("has_time", [False, True])
@pytest.mark.parametrize("case", ["one modality", "single interactions", "most items without interactions"])
def test_poor_data_trains_on_sampled_candidates(tmp_path: Path, case: str, has_time: bool) -> None:
    """As a catalogue that is too large to be compared whole."""
    dataset = load_dataset(CASES[case]().write(tmp_path / "data", has_time=has_time))
    check_catalogue(train_shortly(dataset, short(RECIPES["standard"](dataset, 0), max_candidates=3)), dataset)


@pytest.mark.parametrize(
    ("case", "recipe", "has_time"), [("10 items", "paper", False), ("single interactions", "standard", True)]
)
def test_poor_data_goes_through_to_metrics(tmp_path: Path, case: str, recipe: str, has_time: bool) -> None:
    data = CASES[case]().write(tmp_path / "data", has_time=has_time)
    dataset = load_dataset(data)
    metrics = train_recipe(data, dataset, RunFolder(tmp_path / "run"), short(RECIPES[recipe](dataset, 0)))
    assert (metrics["illegal"], metrics["duplicates"], metrics["seen"]) == (0, 0, 0)
    assert ("recall@20" in metrics) == (case == "10 items")  # nothing of a single interaction is held out
    if case == "10 items":
        assert metrics["recall@20"] == 1  # all that is left fits the list


def test_features_that_say_nothing_do_not_spoil_what_interactions_say(tmp_path: Path) -> None:
    """Two tastes, constant features: items of one taste end up together."""
    lists = [[item for item in range(user % 2, NUM_ITEMS, 2) if (item + user) % 3] for user in range(40)]
    constant = Poor(lists=lists, features={"image": np.ones((NUM_ITEMS, 4), np.float32)})
    dataset = load_dataset(constant.write(tmp_path / "data", has_time=False))
    recipe = RECIPES["standard"](dataset, 0)
    recipe = replace(recipe, graph=replace(recipe.graph, num_steps=40, num_quantizer_steps=1))
    keys = train_graph(dataset, item_features(dataset, recipe), recipe).vectors.keys
    similarity = keys @ keys.T
    same = torch.arange(NUM_ITEMS).unsqueeze(0) % 2 == torch.arange(NUM_ITEMS).unsqueeze(1) % 2
    assert similarity[same].mean() > similarity[~same].mean() + 0.3
