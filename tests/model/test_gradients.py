"""Every trainable tensor learns: with weight decay 0, on a batch that uses it, its gradient norm is above 1e-6."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.generator import Attention, Generator, GeneratorConfig, sequence_encoder
from model.graph_encoder import ItemVectors
from model.graph_rqvae import GraphRQVAE, GraphRQVAEConfig
from model.history_state import HistoryState
from offline.artefacts import Catalogue
from offline.collaborative_batches import CollaborativeBatches, SequenceBatch
from offline.dataset import Dataset
from offline.graph_data import build_graph
from offline.graph_losses import collaborative_loss as collaborative_loss_of
from offline.recipe_settings import GeneratorSettings
from offline.recipes import tiny
from offline.teacher import Teacher
from offline.train_generator import GeneratorLoss, GeneratorPart, parts_of
from offline.train_sequence_encoder import SequenceLoss, SequenceStep
from offline.training_batches import Batch
from service.contract.rec_id import RecIdSpace
from service.contract.trie import build_trie
from tests.offline.conftest import dataset_of

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


def graph_rqvae(**changes: Any) -> GraphRQVAE:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "dim": 8,
        "member_dim": 8,
        "latent_dim": 4,
        "num_levels": 3,
        "codebook_size": 4,
        "embedding_dropout": 0.0,
    }
    sizes |= {"num_items": 12, "feature_dims": {"image": 5, "text": 3}, "max_history": 5}
    return GraphRQVAE(GraphRQVAEConfig(**(sizes | changes))).train()


def features() -> dict[str, Tensor]:
    values = {"image": torch.randn(12, 5), "text": torch.randn(12, 3)}
    values["image"][[1, 4]] = float("nan")
    values["text"][[4, 7]] = float("nan")
    return values


LISTS = [[0, 1, 2, 3, 4, 5], [6, 7, 8], [9, 10, 11], [2, 8, 5]]
NOBODY: list[list[int]] = [[]] * len(LISTS)


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("collaborative_loss", ["softmax", "bpr"])
def test_every_tensor_of_the_graph_rqvae_learns(collaborative_loss: str, ordered: bool) -> None:
    dataset = dataset_of(LISTS, NOBODY, NOBODY, num_items=12, has_time=ordered)
    model = graph_rqvae(ordered_history=ordered, collaborative_loss=collaborative_loss)
    vectors = model.vectors(model.fit(features(), torch.from_numpy(dataset.train_counts())), build_graph(dataset))
    batch = next(iter(batches_of(dataset)))
    # K-means is a fixed point of the codebook loss, so its start comes from vectors that have moved since.
    moved = model.latent(vectors.keys.detach()) + 0.1 * torch.randn(12, 4)
    model.quantizer.initialise(moved, torch.Generator().manual_seed(0))
    losses = model.quantize(vectors.keys)
    (collaborative_loss_of(model, vectors, batch) + model.quantization_loss(losses)).backward()
    trainable = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert without_gradient(model).keys() & trainable == set()
    assert ("log_recency" in trainable) == ordered
    for level, codes in enumerate(losses.codes.T):
        learning = model.quantizer.codebooks.grad[level].norm(dim=1) > SMALLEST_NORM
        assert learning.tolist() == [code in codes for code in range(4)], level


def batches_of(dataset: Dataset) -> CollaborativeBatches:
    return CollaborativeBatches(
        dataset.histories("valid"),
        num_items=dataset.num_items,
        ordered=dataset.has_time,
        batch_users=4,
        max_history=5,
        max_candidates=100,
        seed=0,
    )


@pytest.mark.parametrize("ordered", [False, True])
def test_aligned_content_learns_from_the_keys_and_from_nothing_else(ordered: bool) -> None:
    dataset = dataset_of(LISTS, NOBODY, NOBODY, num_items=12, has_time=ordered)
    model = graph_rqvae(ordered_history=ordered, members=("aligned",))
    standardised, (member,) = model.fit(features(), torch.from_numpy(dataset.train_counts())), model.encoders()
    vectors = model.vectors(standardised, build_graph(dataset))
    collaborative_loss_of(model, vectors, next(iter(batches_of(dataset)))).backward()
    assert all(weight.grad is None for weight in member.key_content.parameters())
    member.alignment(standardised, vectors.keys.detach(), model.has_interactions).backward()
    assert without_gradient(member.key_content) == {}


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
    vectors = ItemVectors(F.normalize(torch.randn(12, 3), dim=1), torch.randn(12, 3))
    history_state = HistoryState(3, SETTINGS.max_history)
    history_state.fit(torch.tensor([1.0, 0.5]), torch.tensor([0.6, 0.0, 0.8]))
    return Catalogue(build_trie(np.array(rec_ids, np.int32), space), space, vectors, history_state, 0.2)


def batch() -> GeneratorPart:
    """A full history, a short one, and an empty one with fewer targets."""
    history = np.array([[0, 3, 7, 2, 9], [5, 1, -1, -1, -1], [-1] * 5])
    targets = np.array([[1, 4, 11], [0, 8, 6], [10, -1, -1]])
    draws = np.random.default_rng(3).random((3, SETTINGS.num_teacher_targets))
    (whole,) = parts_of(Batch(np.array([0, 2, 3]), history, targets, draws))
    return whole


def generator_of(catalogue: Catalogue, *, ordered: bool, attention: Attention = "relation") -> Generator:
    torch.manual_seed(2)
    generator = Generator(
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
            attention=attention,
        )
    ).train()
    generator.history_state.load_state_dict(catalogue.history_state.state_dict())
    return generator


def losses_of(generator: Generator, catalogue: Catalogue) -> GeneratorLoss:
    teacher = Teacher(catalogue.vectors.keys, catalogue.trie, SETTINGS.teacher_temperature)
    return GeneratorLoss(generator, catalogue, teacher, SETTINGS)


@pytest.mark.parametrize("attention", ["relation", "absolute", "plain"])
@pytest.mark.parametrize("ordered", [False, True])
def test_every_tensor_of_the_generator_learns(ordered: bool, attention: Attention) -> None:
    items = catalogue()
    generator = generator_of(items, ordered=ordered, attention=attention)
    losses_of(generator, items)(batch()).backward()
    # Without relation-aware attention nothing reads the user's vector.
    unread = {name for name, _ in generator.named_parameters() if name.startswith("user_projection")}
    assert without_gradient(generator).keys() == (set() if attention == "relation" else unread)
    assert ("bias.recency" in dict(generator.named_parameters())) == (ordered and attention == "relation")
    assert ("positions" in dict(generator.named_parameters())) == (attention == "absolute")


def test_the_history_state_stays_what_the_graph_encoder_made_it() -> None:
    items = catalogue()
    generator = generator_of(items, ordered=True)
    optimiser = torch.optim.AdamW(generator.parameters(), lr=0.1, weight_decay=0.5)
    losses_of(generator, items)(batch()).backward()
    optimiser.step()
    for name, value in items.history_state.state_dict().items():
        assert torch.equal(generator.history_state.get_buffer(name), value), name


def test_a_few_steps_lower_the_loss() -> None:
    """Without the teacher's random draws, the same batch again and again."""
    items = catalogue()
    generator = generator_of(items, ordered=False)
    losses = losses_of(generator, items)
    optimiser = torch.optim.AdamW(generator.parameters(), lr=1e-2, weight_decay=SETTINGS.weight_decay)
    seen = []
    for _ in range(15):
        torch.manual_seed(3)
        loss = losses(batch())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seen.append(loss.item())
    assert seen[-1] < 0.95 * seen[0]


def test_every_tensor_of_the_sequence_encoder_learns() -> None:
    items, dataset = catalogue(), dataset_of(LISTS, NOBODY, NOBODY, num_items=12, has_time=True)
    recipe = replace(tiny(dataset, 0), generator=replace(SETTINGS, num_sequence_layers=2, num_sequence_steps=1))
    encoder = sequence_encoder(replace(generator_of(items, ordered=True).config, num_sequence_layers=2)).train()
    for weight in encoder.move.parameters():  # which starts at 0, and lets nothing through
        torch.nn.init.normal_(weight, std=0.4)
    teacher = Teacher(items.vectors.keys, items.trie, SETTINGS.teacher_temperature)
    loss = SequenceLoss(encoder, items, teacher, recipe)
    drawn = next(iter(batches_of(dataset)))
    assert isinstance(drawn, SequenceBatch)
    loss(SequenceStep(0, drawn, 0)).backward()
    assert without_gradient(encoder) == {}
