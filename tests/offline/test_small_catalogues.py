"""Catalogues of a few items train with the recipes as they are, but for fewer steps; every form of training runs."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from offline.artefacts import Catalogue
from offline.dataset import Dataset
from offline.recipe_settings import Recipe
from offline.recipes import RECIPES
from offline.teacher_choice import choose_teacher
from offline.train_generator import train_generator
from tests.offline.conftest import catalogue_of


def short(recipe: Recipe, **graph: Any) -> Recipe:
    return replace(
        recipe,
        graph=replace(recipe.graph, num_steps=24, num_quantizer_steps=24, **graph),
        generator=replace(recipe.generator, num_steps=3),
    )


def train_shortly(dataset: Dataset, recipe: Recipe) -> tuple[Catalogue, torch.nn.Module]:
    catalogue = catalogue_of(dataset, recipe)
    return catalogue, train_generator(
        dataset, catalogue, recipe, choose_teacher(dataset, catalogue, recipe.generator, 0).teacher
    )


def random_dataset(make_dataset: Callable[..., Dataset], num_items: int, **options: Any) -> Dataset:
    random = np.random.default_rng(num_items)
    lists = [random.choice(num_items, min(num_items, 4), replace=False).tolist() for _ in range(30)]
    return make_dataset(lists, [[]] * 30, [[]] * 30, num_items=num_items, **options)


@pytest.mark.parametrize("has_time", [False, True])
@pytest.mark.parametrize("recipe", ["tiny", "standard", "paper"])
@pytest.mark.parametrize("num_items", [1, 2, 5, 12, 20, 40])
def test_a_few_items_are_enough(
    make_dataset: Callable[..., Dataset], num_items: int, recipe: str, has_time: bool
) -> None:
    dataset = random_dataset(make_dataset, num_items, has_time=has_time)
    catalogue, _ = train_shortly(dataset, short(RECIPES[recipe](dataset, 0)))
    assert catalogue.trie.num_items == num_items


@pytest.mark.parametrize("form", [{"quantization": "two_stage"}, {"quantization": "joint"}, {"members": ("aligned",)}])
@pytest.mark.parametrize("loss", ["softmax", "bpr"])
@pytest.mark.parametrize("has_time", [False, True])
def test_every_form_of_training_runs(
    make_dataset: Callable[..., Dataset], form: dict[str, str], loss: str, has_time: bool
) -> None:
    dataset = random_dataset(make_dataset, 40, has_time=has_time)
    catalogue, generator = train_shortly(dataset, short(RECIPES["tiny"](dataset, 0), collaborative_loss=loss, **form))
    assert torch.isfinite(catalogue.items).all()
    assert all(torch.isfinite(weight).all() for weight in generator.parameters())


def test_an_ordered_history_of_the_whole_catalogue(make_dataset: Callable[..., Dataset]) -> None:
    dataset = make_dataset([[0, 1, 2]] * 4, [[]] * 4, [[]] * 4, num_items=3, has_time=True)
    _, generator = train_shortly(dataset, short(RECIPES["tiny"](dataset, 0)))
    assert all(torch.isfinite(weight).all() for weight in generator.parameters())
