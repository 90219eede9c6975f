"""The sequence encoder: starts as nothing, a history as served is the last of its prefixes, no look ahead."""

import math
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.generator import Generator, GeneratorConfig
from model.sequence_encoder import SequenceEncoder, SequenceLayer

DIM, MAX_HISTORY = 3, 5


def make(*, num_layers: int = 2, trained: bool = True, dropout: float = 0.3) -> SequenceEncoder:
    torch.manual_seed(0)
    encoder = SequenceEncoder(
        vector_dim=2 * DIM, max_history=MAX_HISTORY, dim=8, num_heads=2, num_layers=num_layers, dropout=dropout
    )
    if trained:
        for weight in encoder.parameters():
            torch.nn.init.normal_(weight, std=0.5)
    return encoder.double().eval()


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def histories(num: int, slots: int) -> tuple[Tensor, Tensor]:
    """States [num, D] and item vectors [num, slots, 2 D]."""
    torch.manual_seed(1)
    return F.normalize(torch.randn(num, DIM).double(), dim=-1), torch.randn(num, slots, 2 * DIM).double()


def filled(*lengths: int, slots: int) -> Tensor:
    return (torch.arange(slots) < torch.tensor(lengths).unsqueeze(1)).double()


def test_it_begins_by_moving_nothing() -> None:
    state, vectors = histories(2, 4)
    assert torch.allclose(make(trained=False)(state, vectors, filled(4, 2, slots=4)), state)
    moved = make()(state, vectors, filled(4, 2, slots=4))
    assert (moved - state).norm(dim=1).min() > 0.1
    assert torch.allclose(moved.norm(dim=1), torch.ones(2).double())


@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_every_prefix_is_what_would_be_served_then(num_layers: int) -> None:
    encoder, (_, vectors) = make(num_layers=num_layers), histories(2, MAX_HISTORY)
    states = F.normalize(torch.randn(2, MAX_HISTORY, DIM).double(), dim=-1)
    found = encoder.of_prefixes(states, vectors)
    for newest in range(MAX_HISTORY):
        served = encoder(states[:, newest], vectors[:, newest:], filled(*[MAX_HISTORY - newest] * 2, slots=5 - newest))
        assert torch.allclose(found[:, newest], served, atol=1e-9), newest


def test_what_comes_later_changes_nothing() -> None:
    encoder, (_, vectors) = make(), histories(1, MAX_HISTORY)
    states = F.normalize(torch.randn(1, MAX_HISTORY, DIM).double(), dim=-1)
    other = vectors.clone()
    other[:, :2] = 9.0
    one, two = encoder.of_prefixes(states, vectors), encoder.of_prefixes(states, other)
    assert torch.allclose(one[:, 2:], two[:, 2:], atol=1e-12)
    assert (one[:, :2] - two[:, :2]).abs().max() > 1e-3


def test_order_matters_and_empty_slots_do_not() -> None:
    encoder, (state, vectors) = make(), histories(1, 3)
    moved = encoder(state, vectors, filled(3, slots=3))
    assert (encoder(state, vectors[:, [1, 0, 2]], filled(3, slots=3)) - moved).abs().max() > 1e-3
    padded = F.pad(vectors, (0, 0, 0, 2), value=7.0)
    assert torch.allclose(encoder(state, padded, filled(3, slots=5)), moved, atol=1e-12)


@pytest.mark.parametrize("slots", [0, 1, MAX_HISTORY])
def test_an_empty_history_stays_where_it_is(slots: int) -> None:
    state, vectors = histories(2, slots)
    assert torch.allclose(make()(state, vectors, filled(0, 0, slots=slots)), state)


def test_every_row_of_a_batch_is_its_own() -> None:
    encoder, (state, vectors), mask = make(), histories(3, 4), filled(4, 0, 2, slots=4)
    together = encoder(state, vectors, mask)
    for row in range(3):
        alone = encoder(state[[row]], vectors[[row]], mask[[row]])
        assert torch.allclose(together[[row]], alone, atol=1e-12)


def test_a_share_of_the_way() -> None:
    """Half of the move, before states are brought to unit length; none of it leaves them where they are."""
    encoder, (state, vectors) = make(), histories(1, 3)
    mask = filled(3, slots=3)
    whole = encoder(state, vectors, mask)
    encoder.share.fill_(0.0)
    assert torch.allclose(encoder(state, vectors, mask), state)
    encoder.share.fill_(0.5)
    half = encoder(state, vectors, mask)
    across = torch.linalg.matrix_rank(torch.cat([state, half, whole]), tol=1e-9)
    assert across == 2  # all in the plane of the state and its move
    assert (whole * state).sum() < (half * state).sum() < 1
    prefixes = encoder.of_prefixes(state.unsqueeze(1).expand(-1, 3, -1), vectors)
    assert torch.allclose(prefixes[:, 0], half)


def test_attention_by_loops() -> None:
    """One layer, one query at a time: softmax over what is earlier, with the bias of the distance."""
    torch.manual_seed(3)
    layer = SequenceLayer(4, 2, 6, 0.3)
    for weight in layer.parameters():
        torch.nn.init.normal_(weight, std=0.7)
    layer = layer.double().eval()
    x = torch.randn(1, 4, 4).double()
    closed = torch.where(torch.arange(4)[None] >= torch.arange(4)[:, None], 0.0, -1e9).double()[None, None]
    found = layer(x, closed, 4)
    normed = layer.attention_norm(x[0])
    queries, (keys, values) = layer.query(normed), layer.key_value(normed).chunk(2, dim=-1)
    for slot in range(4):
        mixed = torch.zeros(4).double()
        for head in range(2):
            columns = slice(2 * head, 2 * head + 2)
            scores = [
                queries[slot, columns] @ keys[at, columns] / math.sqrt(2) + layer.distance[head, at - slot]
                for at in range(slot, 4)  # distances below 4 have a bucket each
            ]
            weights = torch.stack(scores).softmax(0)
            mixed[columns] = sum(weights[at - slot] * values[at, columns] for at in range(slot, 4))
        row = x[0, slot] + layer.out(mixed)
        assert torch.allclose(found[0, slot], row + layer.feedforward(row), atol=1e-9)


def test_dropout_is_for_training_alone() -> None:
    encoder, (state, vectors) = make(), histories(1, 4)
    served = encoder(state, vectors, filled(4, slots=4))
    assert torch.equal(served, encoder(state, vectors, filled(4, slots=4)))
    encoder.train()
    assert not torch.allclose(served, encoder(state, vectors, filled(4, slots=4)), atol=1e-3)


def test_the_generator_knows_users_by_the_moved_state() -> None:
    torch.manual_seed(2)
    config = GeneratorConfig(
        vocabulary_sizes=(3, 4), vector_dim=6, max_history=5, ordered_history=True, dim=8, num_heads=2
    )
    with_one = Generator(GeneratorConfig(**{**vars(config), "num_sequence_layers": 1})).double().eval()
    assert Generator(config).sequence_encoder is None
    assert with_one.sequence_encoder is not None
    for weight in with_one.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    with_one.history_state.fit(torch.tensor([1.0, 0.5]), torch.ones(3))
    _, vectors = histories(2, 5)
    mask = filled(5, 3, slots=5)
    total = with_one.history_state(vectors.chunk(2, dim=-1)[1], mask)
    expected = with_one.sequence_encoder(total, vectors, mask)
    assert torch.allclose(with_one.encode(vectors, mask.bool()).state, expected, atol=1e-12)
    assert (expected - total).abs().max() > 1e-2
