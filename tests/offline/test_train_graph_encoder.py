"""Training of the graph encoder: members, content fused and aligned, items without interactions."""

from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from model.collaborative import Candidates
from offline import graph_losses
from offline import train_graph_encoder as module
from offline.collaborative_batches import CollaborativeBatches
from offline.dataset import Dataset
from offline.graph_data import build_graph
from offline.graph_losses import GraphEncoderLoss, GraphStep, collaborative_loss
from offline.recipe_settings import Recipe
from offline.recipes import tiny
from offline.train_graph_encoder import TrainedGraph, train_graph_encoder
from tests.offline.conftest import dataset_of
from tests.offline.slow_smoothing import slow_smoothed

NUM_ITEMS, COLD = 20, [3, 11, 19]
"""Nobody has the items of `COLD`."""


def world(*, has_time: bool = False) -> Dataset:
    random, warm = np.random.default_rng(0), np.setdiff1d(np.arange(NUM_ITEMS), COLD)
    lists = [random.choice(warm, 5, replace=False).tolist() for _ in range(30)]
    valid = [[int(random.choice(np.setdiff1d(warm, items)))] for items in lists]
    return dataset_of(lists, valid, [[]] * 30, num_items=NUM_ITEMS, has_time=has_time)


def features(seed: int = 0) -> dict[str, Tensor]:
    """Items 3 and 11, both cold, look alike."""
    values = torch.randn(NUM_ITEMS, 4, generator=torch.Generator().manual_seed(seed))
    values[11] = values[3]
    return {"image": values}


def short(dataset: Dataset, **graph: Any) -> Recipe:
    recipe = tiny(dataset, 0)
    return replace(recipe, graph=replace(recipe.graph, **({"num_steps": 12, "dim": 16, "member_dim": 16} | graph)))


def trained_with(dataset: Dataset, values: dict[str, Tensor], **graph: Any) -> TrainedGraph:
    return train_graph_encoder(dataset, values, short(dataset, **graph), 0.3)


@pytest.mark.parametrize("has_time", [False, True])
def test_aligned_items_with_interactions_do_not_depend_on_features(has_time: bool) -> None:
    dataset, warm = world(has_time=has_time), np.setdiff1d(np.arange(NUM_ITEMS), COLD)
    one, other = (trained_with(dataset, features(seed), members=("aligned",)).vectors for seed in (0, 1))
    assert torch.equal(one.keys[warm], other.keys[warm])
    assert torch.equal(one.contexts[warm], other.contexts[warm])
    assert not torch.allclose(one.keys[COLD], other.keys[COLD], atol=0.05)


@pytest.mark.parametrize("has_time", [False, True])
def test_aligned_items_without_interactions_are_their_content(has_time: bool) -> None:
    trained = trained_with(world(has_time=has_time), features(), members=("aligned",))
    keys, contexts = trained.vectors
    with torch.no_grad():
        assert torch.equal(keys[COLD], trained.model.content_keys(trained.model.scaler(features()))[COLD])
    assert torch.equal(keys[3], keys[11])  # they look alike
    assert torch.equal(contexts[3], contexts[11])
    known = [item not in COLD for item in range(NUM_ITEMS)]
    assert torch.allclose(contexts[3], slow_smoothed(keys, contexts, known, 0.0, 3), atol=1e-6)
    assert trained.model.has_interactions.flatten().bool().tolist() == known


def test_content_learns_the_keys_it_stands_for() -> None:
    """Items of two kinds, told apart by one feature; users keep to one kind. A cold item of a kind goes with them."""
    lists = [[item for item in range(user % 2, 18, 2) if (item + user) % 5] for user in range(40)]
    dataset = dataset_of(lists, [[]] * 40, [[]] * 40, num_items=NUM_ITEMS)
    kind = torch.where(torch.arange(NUM_ITEMS) % 2 == 0, 1.0, -1.0).unsqueeze(1)
    recipe = short(dataset, members=("aligned",), learning_rate=0.02, embedding_dropout=0.1)
    recipe = replace(recipe, graph=replace(recipe.graph, num_steps=60))
    keys = train_graph_encoder(dataset, {"kind": kind}, recipe, 0.3).vectors.keys
    similarity = keys[18:] @ keys[:18].T
    assert similarity[0, ::2].mean() > similarity[0, 1::2].mean() + 0.3
    assert similarity[1, 1::2].mean() > similarity[1, ::2].mean() + 0.3


@pytest.mark.parametrize("has_time", [False, True])
def test_the_history_state_is_what_the_graph_encoder_learned(has_time: bool) -> None:
    dataset = world(has_time=has_time)
    trained = trained_with(dataset, features(), members=("fused",))
    recency = trained.history_state.recency
    torch.testing.assert_close(recency, trained.model.log_recency.detach().exp())
    assert recency.unique().numel() > 1 if has_time else (recency == 1).all()
    total = torch.zeros(16)
    for items in dataset.train.items:
        total += trained.vectors.contexts[items]
    torch.testing.assert_close(trained.history_state.empty, total / total.norm(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("has_time", [False, True])
@pytest.mark.parametrize("loss", ["softmax", "bpr"])
def test_training_lowers_the_loss(has_time: bool, loss: Any) -> None:
    dataset = world(has_time=has_time)
    losses = []
    for num_steps in (1, 60):
        recipe = short(dataset, members=("fused",), collaborative_loss=loss, embedding_dropout=0.1)
        recipe = replace(recipe, graph=replace(recipe.graph, num_steps=num_steps))
        trained = train_graph_encoder(dataset, features(), recipe, 0.3)
        torch.manual_seed(0)
        losses.append(loss_of(trained, dataset, max_candidates=NUM_ITEMS)[0])
    assert losses[1] < 0.95 * losses[0]


def loss_of(trained: TrainedGraph, dataset: Dataset, max_candidates: int) -> tuple[float, Candidates]:
    batches = CollaborativeBatches(
        dataset.histories("valid"),
        num_items=NUM_ITEMS,
        ordered=dataset.has_time,
        batch_users=4,
        max_history=8,
        max_candidates=max_candidates,
        seed=0,
        with_negatives=trained.model.config.collaborative_loss == "bpr",
    )
    batch = next(iter(batches))
    with torch.no_grad():
        vectors = trained.model.vectors(trained.model.scaler(features()), build_graph(dataset))
        return collaborative_loss(trained.model, vectors, batch).item(), batch.candidates


@pytest.mark.parametrize(("history_dropout", "training"), [(0.0, True), (0.5, True), (0.5, False)])
def test_items_are_left_out_of_prefixes_in_training_alone(history_dropout: float, training: bool) -> None:
    dataset = world(has_time=True)
    trained = trained_with(dataset, features(), members=("aligned",), history_dropout=history_dropout)
    trained.model.train(training)
    losses = [loss_of(trained, dataset, max_candidates=NUM_ITEMS)[0] for _ in range(2)]
    assert (losses[0] == losses[1]) == (history_dropout == 0 or not training)


@pytest.mark.parametrize("has_time", [False, True])
def test_a_sample_as_large_as_the_catalogue_is_still_a_sample(has_time: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wanted and drawn items may be as many as there are items, in another order and some of them twice."""
    dataset = world(has_time=has_time)
    trained = trained_with(dataset, features(), members=("fused",))
    whole, _ = loss_of(trained, dataset, max_candidates=NUM_ITEMS)

    def every_item_once(batches: CollaborativeBatches, targets: np.ndarray) -> tuple[Candidates, Tensor]:
        rows = np.concatenate([np.unique(targets), np.setdiff1d(np.arange(NUM_ITEMS), targets)])
        places = torch.from_numpy(np.argsort(rows)[targets])
        return Candidates(torch.from_numpy(rows), torch.zeros(NUM_ITEMS)), places

    monkeypatch.setattr(CollaborativeBatches, "_candidates", every_item_once)
    found, candidates = loss_of(trained, dataset, max_candidates=1)
    assert candidates.rows.tolist() != list(range(NUM_ITEMS))
    assert found == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("has_time", [False, True])
@pytest.mark.parametrize("loss", ["softmax", "bpr"])
def test_training_on_sampled_candidates_runs(has_time: bool, loss: Any) -> None:
    """What a catalogue of ten million items is trained with: here four candidates of twenty."""
    trained = trained_with(world(has_time=has_time), features(), max_candidates=4, collaborative_loss=loss)
    assert all(part.isfinite().all() for part in trained.vectors)


def test_items_without_free_embeddings_are_content_alone() -> None:
    """As in the paper: an embedding that every training step has dropped says nothing afterwards either."""
    dataset = world()
    trained = trained_with(dataset, features(), members=("fused",), embedding_dropout=1.0)
    keys = trained.vectors.keys
    assert torch.allclose(keys[3], keys[11], atol=1e-6)  # cold items that look alike
    with torch.no_grad():
        content = trained.model.content_keys(trained.model.scaler(features()))
    assert torch.allclose(keys[COLD], content[COLD], atol=1e-6)


def test_cold_items_of_equal_content_get_equal_keys() -> None:
    """Fused: whatever their embeddings start as, nobody has trained them."""
    trained = trained_with(world(), features(), members=("fused",))
    assert torch.allclose(trained.vectors.keys[3], trained.vectors.keys[11], atol=1e-6)


@pytest.mark.parametrize("has_time", [False, True])
def test_members_train_on_batches_of_their_own(has_time: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, Any]] = []

    def noted(model: Any, vectors: Any, batch: Any) -> Tensor:
        seen.append((vectors.keys.shape[1], batch))
        return collaborative_loss(model, vectors, batch)

    monkeypatch.setattr(graph_losses, "collaborative_loss", noted)
    members = ("fused", "aligned", "fused", "aligned")
    trained = trained_with(world(has_time=has_time), features(), members=members, member_dim=8)
    assert len(seen) == 4 * 12
    assert {width for width, _ in seen} == {8}
    assert len({id(batch) for _, batch in seen}) == len(seen)
    assert trained.vectors.keys.shape == trained.vectors.contexts.shape == (NUM_ITEMS, 16)
    assert torch.allclose(trained.vectors.keys.norm(dim=1), torch.ones(NUM_ITEMS), atol=1e-5)


def test_without_features_all_members_start_from_embeddings() -> None:
    trained = trained_with(world(), {}, members=("fused", "aligned"))
    assert trained.model.config.members == ("aligned", "aligned")


def test_every_weight_has_one_learning_rate_and_recency_a_higher_one(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = module._groups(trained_with(world(has_time=True), features(), members=("fused", "aligned")).model, 0.01)
    *others, recency = groups
    assert [weight.shape for weight in recency["params"]] == [(32,)]
    assert recency["lr"] == pytest.approx(0.1)
    weights = [id(weight) for group in groups for weight in group["params"]]
    assert len(weights) == len(set(weights))
    assert all("lr" not in group for group in others)


@pytest.mark.parametrize("has_time", [False, True])
def test_with_all_neighbours_a_step_on_a_sample_is_a_step_on_the_graph(has_time: bool) -> None:
    """Loss and gradients; candidates are sampled, too, so that a step asks for some of the items only."""
    dataset = world(has_time=has_time)
    changes = {"members": ("fused", "aligned"), "embedding_dropout": 0.0, "history_dropout": 0.0}
    model = trained_with(dataset, features(), num_steps=2, num_alignment_steps=2, **changes).model.train()
    stream = CollaborativeBatches(
        dataset.histories("valid"),
        num_items=NUM_ITEMS,
        ordered=has_time,
        batch_users=4,
        max_history=8,
        max_candidates=4,
        seed=0,
    )
    step = GraphStep(0, list(islice(stream, 2)), 0, False)
    found = []
    for fan_out in (0, 30, 1):
        model.zero_grad()
        recipe = short(dataset, fan_out=fan_out)
        loss = GraphEncoderLoss(model, model.scaler(features()), build_graph(dataset), recipe)(step)
        loss.backward()
        found.append((loss.item(), [weight.grad for weight in model.members.parameters() if weight.grad is not None]))
    (whole, whole_gradients), (all_of_them, gradients), (few, _) = found
    assert all_of_them == pytest.approx(whole, rel=1e-5)
    for mine, theirs in zip(gradients, whole_gradients, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-4)
    assert abs(few - whole) > 1e-3 * abs(whole)


@pytest.mark.parametrize("has_time", [False, True])
def test_training_on_few_neighbours_runs_to_the_end(has_time: bool) -> None:
    trained = trained_with(world(has_time=has_time), features(), fan_out=1, max_candidates=4, num_alignment_steps=2)
    assert all(part.isfinite().all() for part in trained.vectors)
    assert trained.vectors.keys.shape == (NUM_ITEMS, 16)


def test_the_codes_of_all_items_are_not_trained_on_samples() -> None:
    with pytest.raises(ValueError, match=r"fan_out=3 with quantization='joint'"):
        short(world(), fan_out=3, quantization="joint", members=("fused",))
