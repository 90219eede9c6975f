"""Every trainable tensor learns: with weight decay 0, on a batch that uses it, its gradient norm is above 1e-6."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from model.generator import Generator, GeneratorConfig
from model.graph_encoder import InteractionGraph
from model.graph_rqvae import GraphRQVAE, GraphRQVAEConfig
from offline.artefacts import Catalogue
from offline.recipes import GeneratorSettings
from offline.train_generator import GeneratorLosses
from offline.training_batches import Batch
from service.contract.rec_id import RecIdSpace
from service.contract.trie import build_trie

SMALLEST_NORM = 1e-6


def without_gradient(module: nn.Module) -> dict[str, float]:
    norms = {
        name: 0.0 if weight.grad is None else weight.grad.norm().item() for name, weight in module.named_parameters()
    }
    return {name: norm for name, norm in norms.items() if not norm > SMALLEST_NORM}


def test_a_tensor_that_learns_nothing_is_found() -> None:
    module = nn.ModuleDict({"used": nn.Linear(2, 2), "unused": nn.Linear(2, 2)})
    module["used"](torch.ones(1, 2)).sum().backward()
    assert without_gradient(module).keys() == {"unused.weight", "unused.bias"}


@pytest.mark.parametrize("collaborative_loss", ["softmax", "bpr"])
def test_every_tensor_of_the_graph_rqvae_learns(collaborative_loss: Any) -> None:
    torch.manual_seed(0)
    model = GraphRQVAE(
        GraphRQVAEConfig(
            num_users=6,
            num_items=12,
            feature_dims={"image": 5, "text": 3},
            num_levels=3,
            codebook_size=4,
            dim=8,
            latent_dim=4,
            collaborative_loss=collaborative_loss,
        )
    ).train()
    features = {"image": torch.randn(12, 5), "text": torch.randn(12, 3)}
    features["image"][[1, 4]] = float("nan")
    features["text"][[4, 7]] = float("nan")
    model.fusion.fit(features)
    taken = torch.zeros(6, 12)
    taken[torch.arange(6).repeat(2), torch.arange(12)] = 1.0
    to_users = (taken / 2**0.5).to_sparse_coo()
    users, items = model.vectors(features, InteractionGraph(to_users, to_users.t().coalesce()))
    # K-means is a fixed point of the codebook loss, so its start comes from vectors that have moved since.
    moved = model.latent(items.detach()) + 0.1 * torch.randn(12, 4)
    model.quantizer.initialise(moved, torch.Generator().manual_seed(0))
    losses = model.quantize(items)
    (model.collaborative(users, items, taken) + model.quantization_loss(losses)).backward()
    assert without_gradient(model) == {}
    for level, codes in enumerate(losses.codes.T):
        learning = model.quantizer.codebooks.grad[level].norm(dim=1) > SMALLEST_NORM
        assert learning.tolist() == [code in codes for code in range(4)], level


SETTINGS = GeneratorSettings(
    dim=16,
    num_heads=2,
    num_layers=2,
    feedforward_dim=24,
    dropout=0.0,
    max_history=5,
    num_steps=1,
    batch_users=3,
    num_targets=3,
    num_teacher_targets=2,
    weight_decay=0.0,
)


def catalogue() -> Catalogue:
    """Twelve items: at every level there are nodes with several children, so that every head has something to say."""
    rec_ids = [(first, second, third) for first in range(3) for second in range(2) for third in range(2)]
    space = RecIdSpace(codebook_sizes=(3, 2), popularity_size=2)
    torch.manual_seed(1)
    users, items = (torch.nn.functional.normalize(torch.randn(count, 6), dim=1) for count in (4, 12))
    return Catalogue(build_trie(np.array(rec_ids, np.int32), space), space, users, items)


def batch() -> Batch:
    """A full history, a short one, and an empty one with fewer targets."""
    history = np.array([[0, 3, 7, 2, 9], [5, 1, -1, -1, -1], [-1] * 5])
    return Batch(np.array([0, 2, 3]), history, np.array([[1, 4, 11], [0, 8, 6], [10, -1, -1]]))


def generator_of(catalogue: Catalogue, *, ordered: bool) -> Generator:
    torch.manual_seed(2)
    return Generator(
        GeneratorConfig(
            vocabulary_sizes=catalogue.space.vocabulary_sizes,
            vector_dim=6,
            max_history=SETTINGS.max_history,
            ordered_history=ordered,
            dim=SETTINGS.dim,
            num_heads=SETTINGS.num_heads,
            num_encoder_layers=SETTINGS.num_layers,
            num_decoder_layers=SETTINGS.num_layers,
            feedforward_dim=SETTINGS.feedforward_dim,
            dropout=SETTINGS.dropout,
        )
    ).train()


@pytest.mark.parametrize("ordered", [False, True])
def test_every_tensor_of_the_generator_learns(ordered: bool) -> None:
    items = catalogue()
    generator = generator_of(items, ordered=ordered)
    tokens, dense = GeneratorLosses(generator, items, SETTINGS)(batch())
    (tokens + dense).backward()
    assert without_gradient(generator) == {}
    assert ("bias.recency" in dict(generator.named_parameters())) == ordered


@pytest.mark.parametrize("ordered", [False, True])
def test_each_loss_reaches_the_encoder(ordered: bool) -> None:
    items = catalogue()
    generator = generator_of(items, ordered=ordered)
    for loss in GeneratorLosses(generator, items, SETTINGS)(batch()):
        (gradient,) = torch.autograd.grad(loss, generator.item_projection.weight, retain_graph=True)
        assert gradient.norm() > SMALLEST_NORM


def test_a_few_steps_lower_both_losses() -> None:
    """Without the teacher's random draws, the same batch again and again."""
    items = catalogue()
    generator = generator_of(items, ordered=False)
    losses = GeneratorLosses(generator, items, SETTINGS)
    optimiser = torch.optim.AdamW(generator.parameters(), lr=1e-2, weight_decay=SETTINGS.weight_decay)
    seen = []
    for _ in range(15):
        torch.manual_seed(3)
        tokens, dense = losses(batch())
        optimiser.zero_grad()
        (tokens + dense).backward()
        optimiser.step()
        seen.append((tokens.item(), dense.item()))
    assert seen[-1][0] < 0.95 * seen[0][0]
    assert seen[-1][1] < 0.95 * seen[0][1]
