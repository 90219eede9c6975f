"""Propagation over both graphs beside powers of dense matrices; LightGCN's own user vectors beside sets of items."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.collaborative import set_states
from model.graph_encoder import Content, GraphEncoder, InteractionGraph, ItemVectors
from model.history_state import HistoryState
from model.modality_fusion import Standardised
from tests.model.graphs import (
    FOLLOWED,
    TAKEN,
    adjacency_of_interactions,
    adjacency_of_transitions,
    interactions,
    sparse,
    sum_of_powers,
    transitions,
)

LAYERS = pytest.mark.parametrize("num_layers", [0, 1, 2, 3])


def start() -> ItemVectors:
    torch.manual_seed(2)
    return ItemVectors(torch.randn(5, 8), torch.randn(5, 8))


def light_gcn(num_layers: int) -> tuple[Tensor, Tensor]:
    """Users [3, 8] and items [5, 8] of LightGCN, whose users start as what their items' contexts come to."""
    keys, contexts = start()
    users = interactions().to_users.to_dense() @ contexts
    return sum_of_powers(adjacency_of_interactions(), torch.cat([users, keys]), num_layers).split([3, 5])


@LAYERS
def test_keys_are_the_item_vectors_of_light_gcn(num_layers: int) -> None:
    keys, _ = interactions().propagate(start(), num_layers)
    assert torch.allclose(keys, light_gcn(num_layers)[1], atol=1e-5)


@LAYERS
def test_a_user_of_light_gcn_is_the_sum_of_the_contexts_of_their_items(num_layers: int) -> None:
    """Up to the user's own degree, which the cosine takes away: so a history says all that a row of a table would."""
    users, _ = light_gcn(num_layers)
    _, contexts = interactions().propagate(start(), num_layers)
    assert torch.allclose(TAKEN @ contexts / TAKEN.sum(1, keepdim=True).sqrt(), users, atol=1e-5)


@LAYERS
def test_training_serving_and_light_gcn_have_one_user_vector(num_layers: int) -> None:
    users, _ = light_gcn(num_layers)
    _, contexts = interactions().propagate(start(), num_layers)
    had = [row.nonzero().flatten() for row in TAKEN]
    trained = set_states(contexts, torch.cat(had), torch.tensor([0, 2, 4]))
    served = HistoryState(8, max_history=4)
    histories = torch.stack([F.pad(items, (0, 2), value=4) for items in had])  # any item in the empty slots
    filled = torch.tensor([1.0, 1.0, 0.0, 0.0]).expand(3, -1)
    for states in (trained, served(contexts[histories], filled)):
        assert torch.allclose(states, F.normalize(users, dim=-1), atol=1e-5)


@LAYERS
def test_propagation_over_transitions_is_a_sum_of_matrix_powers(num_layers: int) -> None:
    expected = sum_of_powers(adjacency_of_transitions(), torch.cat(start()), num_layers)
    found = transitions().propagate(start(), num_layers)
    assert torch.allclose(torch.cat(found), expected, atol=1e-5)


def test_one_step_over_transitions_by_loops() -> None:
    """The context of an item takes the keys of what followed it, a key the contexts of what came before."""
    keys, contexts = start()
    found = transitions().propagate(start(), 1)
    for item in range(5):
        key, context = keys[item].clone(), contexts[item].clone()
        for other in range(5):
            key += FOLLOWED[other, item] * contexts[other]
            context += FOLLOWED[item, other] * keys[other]
        assert torch.allclose(found.keys[item], key, atol=1e-6)
        assert torch.allclose(found.contexts[item], context, atol=1e-6)


@pytest.mark.parametrize("graph", [interactions(), transitions()], ids=["interactions", "transitions"])
def test_an_item_without_edges_keeps_its_start(graph) -> None:
    keys, contexts = graph.propagate(start(), 3)
    assert torch.allclose(keys[4], start().keys[4])
    if isinstance(graph, InteractionGraph):  # own keys of all layers but the last reach a user through the item
        assert torch.allclose(contexts[4], start().contexts[4] + start().keys[4], atol=1e-6)
    else:
        assert torch.allclose(contexts[4], start().contexts[4])


@LAYERS
@pytest.mark.parametrize("kind", ["interactions", "transitions"])
def test_gradients_are_those_of_the_dense_matrices(kind: str, num_layers: int) -> None:
    """Of a loss that weighs every number of keys and contexts differently."""
    keys, contexts = (part.requires_grad_() for part in start())
    weights = torch.arange(40.0).view(5, 8) / 40
    if kind == "interactions":
        graph, users = interactions(), interactions().to_users.to_dense() @ contexts
        spread = sum_of_powers(adjacency_of_interactions(), torch.cat([users, keys]), num_layers)
        before = sum_of_powers(adjacency_of_interactions(), torch.cat([users, keys]), num_layers - 1)
        own = before[3:] if num_layers else torch.zeros(())
        expected = ItemVectors(spread[3:], (contexts + own) * graph.item_scale)
    else:
        graph = transitions()
        expected = ItemVectors(
            *sum_of_powers(adjacency_of_transitions(), torch.cat([keys, contexts]), num_layers).chunk(2)
        )
    slow, fast = (
        torch.autograd.grad(((found.keys + found.contexts.flip(0)) * weights).sum(), (keys, contexts))
        for found in (expected, graph.propagate(ItemVectors(keys, contexts), num_layers))
    )
    for one, other in zip(slow, fast, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_the_weights_of_the_graph_by_eye() -> None:
    """User 0 has two items; item 1 has three users: 1 / √(2 · 3)."""
    assert torch.isclose(interactions().to_users.to_dense()[0, 1], torch.tensor(6.0).rsqrt())


def encoder(content: Content = "fused", num_items: int = 5, **changes: Any) -> GraphEncoder:
    torch.manual_seed(3)
    sizes: dict[str, Any] = {"dim": 8, "num_layers": 0, "ordered_history": False, "embedding_dropout": 0.0}
    sizes |= {"feature_dims": {"image": 3}, "content": content, "num_items": num_items}
    return GraphEncoder(**(sizes | changes))


def features(num_items: int = 5) -> Standardised:
    torch.manual_seed(4)
    return {"image": (torch.randn(num_items, 3), torch.ones(num_items, 1, dtype=torch.bool))}


def no_edges(num_items: int) -> InteractionGraph:
    nothing = torch.zeros(1, num_items)
    return InteractionGraph(sparse(nothing), sparse(nothing.T), torch.ones(num_items, 1))


KNOWN = torch.tensor([1.0, 1, 1, 1, 0]).unsqueeze(1)
"""Nobody has item 4."""


@pytest.mark.parametrize("ordered", [False, True])
def test_fused_vectors_are_propagated_content_and_embeddings(ordered: bool) -> None:
    model = encoder(num_layers=2, ordered_history=ordered).eval()
    graph, values = transitions() if ordered else interactions(), features()
    keys, contexts = model(values, graph, KNOWN)
    start = [
        model.key_content(values, 5) + model.key_embedding * KNOWN,  # nobody has trained the last one
        model.context_embedding * KNOWN,
    ]
    if ordered:  # in a set the contexts have no content
        start[1] = start[1] + model.context_content(values, 5)
    expected = graph.propagate(ItemVectors(*start), 2)
    assert torch.allclose(keys, F.normalize(expected.keys, dim=1), atol=1e-5)
    assert torch.allclose(contexts, expected.contexts / expected.contexts.norm(dim=1).mean(), atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_aligned_vectors_are_propagated_embeddings(training: bool) -> None:
    model = encoder("aligned", num_layers=2).train(training)
    keys, contexts = model(features(), interactions(), KNOWN)
    expected = interactions().propagate(ItemVectors(model.key_embedding, model.context_embedding), 2)
    assert torch.allclose(keys[:4], F.normalize(expected.keys, dim=1)[:4], atol=1e-5)
    assert torch.allclose(contexts, expected.contexts / expected.contexts.norm(dim=1).mean(), atol=1e-5)
    last = (
        expected.keys[4] if training else model.key_content(features(), 5)[4]
    )  # content stands in, once it is trained
    assert torch.allclose(keys[4], F.normalize(last, dim=0), atol=1e-5)


@pytest.mark.parametrize("content", ["fused", "aligned"])
@pytest.mark.parametrize("ordered", [False, True])
def test_keys_have_unit_length_and_contexts_a_mean_of_one(ordered: bool, content: Content) -> None:
    model = encoder(content, num_layers=2, ordered_history=ordered)
    keys, contexts = model(features(), transitions() if ordered else interactions(), KNOWN)
    assert torch.allclose(keys.norm(dim=1), torch.ones(5), atol=1e-5)
    assert contexts.norm(dim=1).mean().item() == pytest.approx(1, abs=1e-5)
    assert contexts.norm(dim=1).std() > 0.01  # how much an item says of a history is learned


def test_fused_vectors_depend_on_the_features_and_aligned_ones_do_not() -> None:
    for content, moves in (("fused", True), ("aligned", False)):
        model = encoder(content, num_layers=2)
        other = {"image": (features()["image"][0].flip(0), features()["image"][1])}
        one, two = (model(values, interactions(), KNOWN).keys for values in (features(), other))
        assert torch.equal(one, two) != moves


@pytest.mark.parametrize("content", ["fused", "aligned"])
def test_without_any_feature_the_embeddings_are_all_there_is(content: Content) -> None:
    model = encoder(content, num_layers=2, feature_dims={})
    keys, _ = model.eval()({}, interactions(), KNOWN)
    assert torch.allclose(keys[4], F.normalize(model.key_embedding[4], dim=0), atol=1e-6)
    assert not model.content_keys({}).any()


def test_training_drops_whole_item_embeddings() -> None:
    model = encoder(num_items=400, embedding_dropout=0.25, feature_dims={}).train()
    found = model({}, no_edges(400), torch.ones(400, 1))
    dropped = [(part == 0).all(dim=1) for part in found]
    for part, embedding, gone in zip(found, (model.key_embedding, model.context_embedding), dropped, strict=True):
        assert torch.allclose(F.normalize(part[~gone], dim=1), F.normalize(embedding[~gone], dim=1), atol=1e-6)
        assert 0.15 < gone.float().mean() < 0.35
    assert not torch.equal(*dropped)  # an item may lack one and keep the other


def test_nothing_is_dropped_afterwards_or_from_aligned_embeddings() -> None:
    for model in (encoder(embedding_dropout=0.99).eval(), encoder("aligned", embedding_dropout=0.99).train()):
        keys, contexts = model({**features()}, no_edges(5), torch.ones(5, 1))
        assert (keys.norm(dim=1) > 0.5).all()
        assert (contexts.norm(dim=1) > 0).all()
        assert torch.equal(keys, model(features(), no_edges(5), torch.ones(5, 1)).keys)


@pytest.mark.parametrize("training", [True, False])
def test_embeddings_that_are_always_dropped_are_none(training: bool) -> None:
    """Nothing ever trained them, so they must not speak up in the end."""
    model = encoder(embedding_dropout=1.0, num_layers=2, ordered_history=True).train(training)
    found = model(features(), transitions(), torch.ones(5, 1))
    content = ItemVectors(model.key_content(features(), 5), model.context_content(features(), 5))
    expected = transitions().propagate(content, 2)
    assert torch.allclose(found.keys, F.normalize(expected.keys, dim=1), atol=1e-6)


def test_alignment_looks_at_items_with_interactions_alone() -> None:
    model = encoder("aligned")
    keys = F.normalize(torch.randn(5, 8), dim=1)
    content = model.content_keys(features()).detach()
    assert torch.allclose(content.norm(dim=1), torch.ones(5), atol=1e-5)
    expected = sum(1 - float(F.cosine_similarity(content[item], keys[item], dim=0)) for item in range(4)) / 4
    for _ in range(2):
        assert model.alignment(features(), keys, KNOWN).item() == pytest.approx(expected, abs=1e-5)
        keys[4] *= -1
    assert model.alignment(features(), content, KNOWN).item() == pytest.approx(0, abs=1e-6)
