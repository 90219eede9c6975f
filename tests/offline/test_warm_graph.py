"""What a graph encoder takes over of the previous one, item by item, and how its keys are turned back."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from model.graph_encoder import ItemVectors
from model.graph_rqvae import GraphRQVAE, GraphRQVAEConfig
from offline.recipe_settings import WarmSettings
from offline.recipes import tiny
from offline.warm_graph import GraphStart, share_of
from tests.offline.conftest import dataset_of

ROWS = torch.tensor([2, -1, 0, 1])
"""Item 1 is new; the others had these rows in the previous run, where nobody had item 2's row 0."""


def model_of(num_items: int, seed: int) -> GraphRQVAE:
    torch.manual_seed(seed)
    return GraphRQVAE(
        GraphRQVAEConfig(
            num_items=num_items,
            feature_dims={"text": 3},
            num_levels=2,
            codebook_size=4,
            ordered_history=True,
            max_history=5,
            dim=6,
            members=("fused", "aligned"),
            member_dim=4,
        )
    )


@pytest.fixture
def previous() -> GraphRQVAE:
    model = model_of(3, seed=1)
    features = {"text": torch.randn(3, 3) * 7 + 2}
    model.fit(features, torch.tensor([0, 4, 9]))
    model.fit_projection(torch.randn(3, 8))
    return model


def start_from(model: GraphRQVAE) -> GraphStart:
    return GraphStart(ROWS, torch.zeros(3, 6), model.state_dict(), 0.2)


def test_embeddings_are_taken_over_by_item_and_all_else_as_it_is(previous: GraphRQVAE) -> None:
    model, fresh = model_of(4, seed=2), model_of(4, seed=2).state_dict()
    assert start_from(previous).take_over(model)
    for name, found in model.state_dict().items():
        before = previous.state_dict()[name]
        if name.endswith("_embedding"):
            assert torch.equal(found[0], before[2])
            assert torch.equal(found[3], before[1])
            assert torch.equal(found[[1, 2]], fresh[name][[1, 2]])  # new, and nobody's until now
        elif name.startswith(("encoder.", "quantizer.", "decoder.", "has_interactions")):
            assert torch.equal(found, fresh[name]), name
        else:
            assert torch.equal(found, before), name
    assert {"scaler.mean_text", "log_recency", "projection"} < model.state_dict().keys()


def test_equal_content_has_equal_features_on_the_next_day(previous: GraphRQVAE) -> None:
    today = {"text": torch.randn(4, 3) * 100}
    model = model_of(4, seed=2)
    model.fit(today, torch.ones(4))  # another scale
    start_from(previous).take_over(model)
    assert torch.equal(model.scaler(today)["text"][0], previous.scaler(today)["text"][0])


def test_another_shape_takes_nothing_over(previous: GraphRQVAE) -> None:
    model, fresh = model_of(4, seed=2), model_of(4, seed=2).state_dict()
    start = replace(start_from(previous), weights=None)
    assert not start.take_over(model)
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in model.state_dict().items())
    recipe = tiny(dataset_of([[0]], [[]], [[]], num_items=4), 0)
    assert start.shortened(recipe) == recipe


def test_keys_that_turned_are_turned_back(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing else changes: what keys and contexts say to each other is the same."""
    model = model_of(40, seed=3)
    each = [ItemVectors(F.normalize(torch.randn(40, 4), dim=1), torch.randn(40, 4)) for _ in range(2)]
    keys, contexts = model.join(each)
    rotation = torch.linalg.qr(torch.randn(6, 6)).Q
    rows = torch.arange(40)
    rows[:3] = -1  # new items have nowhere to be turned to
    GraphStart(rows, keys @ rotation, None, 0.2).align(model, each)
    turned = model.join(each)
    assert torch.allclose(turned.keys, keys @ rotation, atol=1e-5)
    assert torch.allclose(turned.contexts @ turned.keys.T, contexts @ keys.T, atol=1e-4)
    assert "keys of 37 known items" in capsys.readouterr().err


def test_nothing_in_common_turns_nothing() -> None:
    model = model_of(4, seed=3)
    before = model.projection.clone()
    each = [ItemVectors(torch.randn(4, 4), torch.randn(4, 4)) for _ in range(2)]
    GraphStart(torch.full((4,), -1), torch.zeros(3, 6), None, 0.2).align(model, each)
    assert torch.equal(model.projection, before)


def test_what_is_left_to_do(previous: GraphRQVAE) -> None:
    recipe = tiny(dataset_of([[0]], [[]], [[]], num_items=4), 0)
    recipe = replace(recipe, warm=WarmSettings(graph_steps=0.1, graph_learning_rate=0.5))
    left = start_from(previous).shortened(recipe).graph
    assert (left.num_steps, left.num_alignment_steps, left.temperatures) == (30, 30, (0.2,))
    assert left.learning_rate == pytest.approx(0.0025)
    assert [share_of(steps, 0.25) for steps in (0, 1, 3, 100)] == [0, 1, 1, 25]
