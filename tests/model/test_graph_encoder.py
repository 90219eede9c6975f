"""Propagation over both graphs beside powers of dense matrices; LightGCN's own user vectors beside sets of items."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.collaborative import set_states
from model.graph_encoder import GraphEncoder, InteractionGraph, ItemVectors
from model.history_state import HistoryState
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


def test_the_encoder_propagates_content_and_embeddings() -> None:
    torch.manual_seed(3)
    encoder, content = GraphEncoder(5, 8, num_layers=2, embedding_dropout=0.5).eval(), start()
    begun = ItemVectors(content.keys + encoder.key_embedding, content.contexts + encoder.context_embedding)
    for graph in (interactions(), transitions()):
        for found, expected in zip(encoder(content, graph, torch.ones(5, 1)), graph.propagate(begun, 2), strict=True):
            assert torch.allclose(found, expected)


def test_training_drops_whole_item_embeddings() -> None:
    torch.manual_seed(3)
    encoder = GraphEncoder(400, 8, num_layers=0, embedding_dropout=0.25).train()
    nothing = torch.zeros(1, 400)
    zeros = torch.zeros(400, 8)
    graph = InteractionGraph(sparse(nothing), sparse(nothing.T), torch.ones(400, 1))
    found = encoder(ItemVectors(zeros, zeros), graph, torch.ones(400, 1))
    dropped = [(part == 0).all(dim=1) for part in found]
    for part, embedding, gone in zip(found, (encoder.key_embedding, encoder.context_embedding), dropped, strict=True):
        assert torch.equal(part[~gone], embedding[~gone])
        assert 0.15 < gone.float().mean() < 0.35
    assert not torch.equal(*dropped)  # an item may lack one and keep the other


def test_nothing_is_dropped_afterwards() -> None:
    encoder, zeros = GraphEncoder(5, 8, num_layers=0, embedding_dropout=0.99).eval(), torch.zeros(5, 8)
    keys, contexts = encoder(ItemVectors(zeros, zeros), transitions(), torch.ones(5, 1))
    assert torch.equal(keys, encoder.key_embedding)
    assert torch.equal(contexts, encoder.context_embedding)


@pytest.mark.parametrize("training", [True, False])
def test_embeddings_that_are_always_dropped_are_none(training: bool) -> None:
    """Nothing ever trained them, so they must not speak up in the end."""
    encoder, content = GraphEncoder(5, 8, num_layers=2, embedding_dropout=1.0).train(training), start()
    vectors = encoder(content, transitions(), torch.ones(5, 1))
    for found, expected in zip(vectors, transitions().propagate(content, 2), strict=True):
        assert torch.equal(found, expected)


def test_who_does_not_speak_has_no_embedding() -> None:
    torch.manual_seed(3)
    encoder, zeros = GraphEncoder(5, 8, num_layers=0, embedding_dropout=0.0).train(), torch.zeros(5, 8)
    speaks = torch.tensor([1.0, 0, 1, 1, 0]).unsqueeze(1)
    for found, embedding in zip(
        encoder(ItemVectors(zeros, zeros), transitions(), speaks),
        (encoder.key_embedding, encoder.context_embedding),
        strict=True,
    ):
        assert torch.equal(found[[0, 2, 3]], embedding[[0, 2, 3]])
        assert not found[[1, 4]].any()


def test_members_are_dropped_each_by_itself() -> None:
    torch.manual_seed(3)
    encoder, zeros = GraphEncoder(300, 8, 0, embedding_dropout=0.5, num_members=2).train(), torch.zeros(300, 8)
    nothing = torch.zeros(1, 300)
    graph = InteractionGraph(sparse(nothing), sparse(nothing.T), torch.ones(300, 1))
    keys, _ = encoder(ItemVectors(zeros, zeros), graph, torch.ones(300, 1))
    gone = [(part == 0).all(dim=1) for part in keys.chunk(2, dim=1)]
    kept = [(part != 0).all(dim=1) for part in keys.chunk(2, dim=1)]
    assert all(bool((left | stays).all()) for left, stays in zip(gone, kept, strict=True))
    assert (gone[0] & kept[1]).any()
    assert (kept[0] & gone[1]).any()
