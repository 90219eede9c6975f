"""The two stages of the Graph RQ-VAE: which temperature is taken, what is quantised, what codebooks change."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from offline import train_graph_rqvae as module
from offline.dataset import Dataset
from offline.recipe_settings import Recipe
from offline.recipes import tiny
from offline.train_graph_encoder import train_graph_encoder
from offline.train_graph_rqvae import train_graph, train_rq_vae
from tests.offline.conftest import dataset_of

NUM_ITEMS, NUM_USERS = 20, 30


def world(*, validated: bool = True) -> Dataset:
    random = np.random.default_rng(0)
    lists = [random.choice(NUM_ITEMS, 5, replace=False).tolist() for _ in range(NUM_USERS)]
    valid = [[int(random.choice(np.setdiff1d(np.arange(NUM_ITEMS), items)))] for items in lists]
    empty: list[list[int]] = [[]] * NUM_USERS
    return dataset_of(lists, valid if validated else empty, empty, num_items=NUM_ITEMS)


def features() -> dict[str, Tensor]:
    """Items 3 and 11 look alike."""
    values = torch.randn(NUM_ITEMS, 4, generator=torch.Generator().manual_seed(0))
    values[11] = values[3]
    return {"image": values}


def short(dataset: Dataset, **graph: Any) -> Recipe:
    recipe = tiny(dataset, 0)
    sizes = {"num_steps": 6, "num_quantizer_steps": 8, "dim": 16, "member_dim": 16}
    return replace(recipe, graph=replace(recipe.graph, **(sizes | graph)))


STEADY, BETTER = np.full(NUM_USERS, 0.2), np.full(NUM_USERS, 0.3)
LUCKY = np.where(np.arange(NUM_USERS) == 0, 0.9, 0.2)
"""Better on the mean, by one user."""


@pytest.mark.parametrize(
    ("second", "third", "taken"), [(BETTER, STEADY, 0.1), (LUCKY, STEADY, 0.3), (STEADY, BETTER, 0.2)]
)
def test_validation_has_to_prefer_another_temperature_clearly(
    second: Any, third: Any, taken: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, given = world(), [STEADY, second, third]
    monkeypatch.setattr(module, "dense_quality", lambda *_: given.pop(0))
    recipe = short(dataset, temperatures=(0.3, 0.1, 0.2))
    trained = train_graph(dataset, features(), recipe)
    assert trained.model.config.temperature == taken
    assert (
        f"0.3: 0.2000, 0.1: {second.mean():.4f}, 0.2: {third.mean():.4f}; taken {taken:g}\n" in capsys.readouterr().err
    )
    alone = train_graph_encoder(dataset, features(), recipe, taken)
    assert torch.equal(trained.vectors.keys, alone.vectors.keys)  # as if there had been no choice


def test_temperatures_are_tried_on_one_member(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[int, float]] = []

    def noted(dataset: Any, values: Any, recipe: Recipe, temperature: float, *start: Any) -> Any:
        tried.append((len(recipe.graph.members), temperature))
        return train_graph_encoder(dataset, values, recipe, temperature, *start)

    monkeypatch.setattr(module, "train_graph_encoder", noted)
    dataset = world()
    train_graph(dataset, features(), short(dataset, temperatures=(0.3, 0.1), members=("fused", "aligned")))
    assert tried[:2] == [(1, 0.3), (1, 0.1)]
    assert [members for members, _ in tried] == [1, 1, 2]


def test_without_validation_or_a_second_temperature_there_is_nothing_to_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "dense_quality", lambda *_: pytest.fail("compared"))
    for dataset, temperatures in ((world(validated=False), (0.3, 0.1)), (world(), (0.3,))):
        trained = train_graph(dataset, features(), short(dataset, temperatures=temperatures))
        assert trained.model.config.temperature == 0.3


def test_what_is_quantised() -> None:
    dataset = world()
    recipe = short(dataset, members=("fused", "aligned"))
    graph = train_graph(dataset, features(), recipe)
    keys = graph.vectors.keys
    found = {}
    for source in ("graph", "content", "random"):
        changed = replace(recipe, rec_ids=replace(recipe.rec_ids, source=source))
        model, found[source] = train_rq_vae(graph.model, keys, features, changed)
        assert torch.allclose(found[source].norm(dim=1), torch.ones(NUM_ITEMS), atol=1e-5)
        assert torch.equal(train_rq_vae(graph.model, keys, features, changed)[1], found[source])  # by the seed
        assert model.quantizer.initialised
    assert torch.equal(found["graph"], keys)
    assert torch.equal(found["content"][3], found["content"][11])
    assert not torch.equal(keys[3], keys[11])
    assert not torch.allclose(found["random"], keys, atol=0.1)


def test_codes_do_not_depend_on_the_sizes_that_the_graph_encoder_was_trained_beside() -> None:
    """So a run may take over another's graph encoder (benchmarks.ablating.shared_stages)."""
    dataset = world()
    recipe = short(dataset)
    wide = replace(recipe, rec_ids=replace(recipe.rec_ids, num_levels=2, codebook_size=9))
    graph = train_graph(dataset, features(), recipe)
    beside_wide = train_graph(dataset, features(), wide)
    one, other = (train_rq_vae(each.model, graph.vectors.keys, features, wide)[0] for each in (graph, beside_wide))
    for name in ("encoder", "quantizer", "decoder"):
        for mine, theirs in zip(getattr(one, name).parameters(), getattr(other, name).parameters(), strict=True):
            assert torch.equal(mine, theirs), name


def test_joint_quantisation_goes_on_with_the_codebooks_it_has() -> None:
    dataset = world()
    recipe = short(dataset, quantization="joint", num_quantizer_steps=0)
    graph = train_graph(dataset, features(), recipe)
    assert graph.model.quantizer.initialised
    model, _ = train_rq_vae(graph.model, graph.vectors.keys, features, recipe)
    assert torch.equal(model.quantizer.codebooks, graph.model.quantizer.codebooks)
    apart = replace(recipe, graph=replace(recipe.graph, quantization="two_stage"))
    assert not train_graph(dataset, features(), apart).model.quantizer.initialised
