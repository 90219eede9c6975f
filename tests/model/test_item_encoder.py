"""The item encoder gives a later item what the Graph RQ-VAE gives one without interactions, and needs no item of it."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.graph_encoder import Content
from model.graph_rqvae import GraphRQVAE, GraphRQVAEConfig
from model.item_encoder import ItemEncoder
from tests.model.graphs import TAKEN, interactions

NAN = float("nan")
ALONE = 4
"""The item without interactions."""

BOTH: tuple[Content, ...] = ("fused", "aligned")


def make(**changes: Any) -> GraphRQVAE:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"dim": 8, "member_dim": 8, "latent_dim": 4, "num_levels": 2, "codebook_size": 3}
    sizes |= {"num_items": 5, "feature_dims": {"image": 3, "text": 2}, "ordered_history": True, "max_history": 4}
    return GraphRQVAE(GraphRQVAEConfig(**(sizes | changes))).eval()


def features(*missing: str) -> dict[str, Tensor]:
    """The item without interactions lacks what is `missing`."""
    torch.manual_seed(1)
    values = {"image": torch.randn(5, 3), "text": torch.randn(5, 2)}
    for name in missing:
        values[name][ALONE] = NAN
    return values


@pytest.mark.parametrize("members", [("fused",), ("aligned",), BOTH])
@pytest.mark.parametrize("missing", [(), ("image",), ("image", "text")])
def test_an_item_that_nobody_had_gets_the_key_that_training_gives_it(
    members: tuple[Content, ...], missing: tuple[str, ...]
) -> None:
    model, values = make(members=members, dim=6), features(*missing)
    standardised = model.fit(values, TAKEN.sum(0).long())
    model.fit_projection(torch.randn(20, model.config.width))
    trained = model.vectors(standardised, interactions()).keys[ALONE]
    encoder = ItemEncoder.of(model)
    alone = {name: rows[ALONE : ALONE + 1] for name, rows in values.items()}
    assert torch.allclose(encoder.content_keys(alone)[0], trained, atol=1e-6)
    assert torch.allclose(encoder.content_keys(values), model.content_keys(standardised), atol=1e-6)


def test_its_codes_are_those_of_the_model() -> None:
    model = make()
    keys = F.normalize(torch.randn(7, 8), dim=1)
    encoder = ItemEncoder.of(model)
    assert torch.equal(encoder.quantizer(encoder.latent(keys)).codes, model.quantize(keys).codes)


def test_it_knows_how_recency_counts() -> None:
    model = make()
    with torch.no_grad():
        model.log_recency.copy_(torch.tensor([0.0, -1.0, -2.0, -3.0]))
    assert torch.allclose(ItemEncoder.of(model).recency, torch.tensor([1.0, 0.36788, 0.13534, 0.04979]), atol=1e-5)


def test_it_does_not_grow_with_the_catalogue() -> None:
    few, many = (ItemEncoder.of(make(num_items=size)).state_dict() for size in (5, 50_000))
    assert {name: tensor.shape for name, tensor in few.items()} == {name: many[name].shape for name in many}


def test_it_is_a_copy() -> None:
    model = make()
    encoder = ItemEncoder.of(model)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


def test_without_modalities_it_says_nothing() -> None:
    assert ItemEncoder.of(make(feature_dims={})).content_keys({}).shape == (0, 8)
