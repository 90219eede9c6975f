"""What the encoder's attention may know, and what the keys of the tokens begin as."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from model.generator import Attention, Generator, GeneratorConfig, Memory

VECTOR_DIM, MAX_HISTORY = 6, 5
ORDER = torch.tensor([3, 1, 0, 2])


def make(attention: Attention, *, ordered: bool) -> Generator:
    torch.manual_seed(0)
    config = GeneratorConfig(
        vocabulary_sizes=(3, 4),
        vector_dim=VECTOR_DIM,
        max_history=MAX_HISTORY,
        ordered_history=ordered,
        dim=8,
        num_heads=2,
        feedforward_dim=12,
        attention=attention,
    )
    generator = Generator(config)
    for weight in generator.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    return generator.double().eval()  # recency is flat: the state has no order


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def vectors(slots: int = 4) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(2, slots, VECTOR_DIM).double()


def encode(generator: Generator, history: Tensor) -> Memory:
    return generator.encode(history, torch.ones(history.shape[:2], dtype=torch.bool))


def logits(generator: Generator, memory: Memory) -> Tensor:
    return generator.step(0, None, memory, None)[0]


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("attention", ["relation", "absolute", "plain"])
def test_what_knows_the_order(attention: Attention, ordered: bool) -> None:
    generator = make(attention, ordered=ordered)
    one, other = encode(generator, vectors()), encode(generator, vectors()[:, ORDER])
    assert torch.allclose(one.state, other.state, atol=1e-12)
    knows = attention == "absolute" or (attention == "relation" and ordered)
    same = torch.allclose(logits(generator, one), logits(generator, other), atol=1e-9)
    assert same != knows


@pytest.mark.parametrize("attention", ["relation", "absolute", "plain"])
def test_only_relation_aware_attention_knows_the_user(attention: Attention) -> None:
    """The user's vector enters the layers of the encoder as an argument of its own."""
    generator = make(attention, ordered=False)
    rows, bias = torch.randn(10, 8).double(), torch.zeros(2, 1, 1, 5).double()
    users = torch.randn(2, 8).double()
    one, other = (generator.encoder[0](rows, user, bias) for user in (users, users.flip(0)))
    assert torch.allclose(one, other, atol=1e-9) == (attention != "relation")


@pytest.mark.parametrize("attention", ["absolute", "plain"])
def test_the_other_attention_is_scaled_dot_product_attention(attention: Attention) -> None:
    layer = make(attention, ordered=False).encoder[0].attention
    rows, mask = torch.randn(2, 5, 8).double(), torch.ones(2, 1, 1, 5, dtype=torch.bool)
    mask[1, ..., -1] = False
    heads = [part.unflatten(-1, (2, 4)).transpose(1, 2) for part in layer.projection(rows).chunk(3, dim=-1)]
    mixed = torch.nn.functional.scaled_dot_product_attention(*heads, attn_mask=mask)
    expected = layer.out(mixed.transpose(1, 2).flatten(2))
    found = layer(rows.flatten(0, 1), torch.zeros(2, 8).double(), torch.where(mask, 0.0, -1e9).double())
    assert torch.allclose(found.view(2, 5, 8), expected, atol=1e-12)


@pytest.mark.parametrize("attention", ["relation", "absolute", "plain"])
@pytest.mark.parametrize("ordered", [False, True])
def test_every_variant_takes_any_length_and_ignores_empty_slots(attention: Attention, ordered: bool) -> None:
    generator = make(attention, ordered=ordered)
    for length in range(MAX_HISTORY + 1):
        history = vectors(MAX_HISTORY)
        mask = (torch.arange(MAX_HISTORY) < length).expand(2, -1)
        padded = logits(generator, generator.encode(torch.where(mask.unsqueeze(-1), history, 1e3), mask))
        assert torch.allclose(padded, logits(generator, encode(generator, history[:, :length])), atol=1e-10)


def test_token_keys_begin_as_what_the_levels_above_left_unsaid() -> None:
    """Items (2, 0), (4, 0) share token 0; (0, 8) has token 1. Then the rests are (-1, 0), (1, 0) and (0, 0)."""
    config = GeneratorConfig(
        vocabulary_sizes=(3, 2), vector_dim=4, max_history=1, ordered_history=False, dim=4, num_heads=1
    )
    generator = Generator(config)
    keys = torch.tensor([[2.0, 0.0], [4.0, 0.0], [0.0, 8.0]])
    generator.start_token_keys(torch.tensor([[0, 0], [0, 1], [1, 0]]), keys, scale=10.0)
    assert generator.token_keys[0].tolist() == [[30.0, 0.0], [0.0, 80.0], [0.0, 0.0]]  # nobody has token 2
    assert generator.token_keys[1].tolist() == [[-5.0, 0.0], [10.0, 0.0]]
    assert all(weight.requires_grad for weight in generator.token_keys)


def test_where_rec_ids_say_all_the_tokens_add_up_to_the_cosine_of_every_item() -> None:
    """Two levels, one item per Rec-ID: what the tokens' keys say of a state together is `scale · state · key`."""
    generator = make("relation", ordered=False)
    keys = torch.nn.functional.normalize(torch.randn(12, 3).double(), dim=1)
    rec_ids = torch.tensor([(first, second) for first in range(3) for second in range(4)])
    # Rests that the second level can say: the same four for every first token.
    keys = keys[:3].repeat_interleave(4, dim=0) + (keys[3:7] - keys[3:7].mean(0)).repeat(3, 1)
    generator.start_token_keys(rec_ids, keys, scale=5.0)
    state = encode(generator, vectors()).state
    said = sum(state @ generator.token_keys[level][rec_ids[:, level]].T for level in range(2))
    assert torch.allclose(said, 5 * state @ keys.T, atol=1e-10)
