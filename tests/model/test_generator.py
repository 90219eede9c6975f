"""The generator: sets and sequences, empty histories, cached decoding, probabilities that sum to one."""

from collections.abc import Iterator
from itertools import pairwise, product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.attention import NEGATIVE
from model.generator import Generator, GeneratorConfig, Memory
from model.trie_softmax import TrieLevel, child_log_probs

VECTOR_DIM = 6
VOCABULARIES = (3, 4, 2)


def make(*, ordered: bool, seed: int = 0, **changes: Any) -> Generator:
    torch.manual_seed(seed)
    config = GeneratorConfig(
        vocabulary_sizes=VOCABULARIES,
        vector_dim=VECTOR_DIM,
        max_history=8,
        ordered_history=ordered,
        dim=16,
        num_heads=2,
        feedforward_dim=24,
        dropout=0.3,
        **changes,
    )
    generator = Generator(config)
    for weight in generator.parameters():  # as far from their small start as a trained model's
        torch.nn.init.normal_(weight, std=0.4)
    recency = 0.7 ** torch.arange(8) if ordered else torch.ones(1)
    generator.history_state.fit(recency, torch.randn(VECTOR_DIM // 2))
    return generator.double().eval()


@pytest.fixture
def generator() -> Generator:
    return make(ordered=False)


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def histories(*lengths: int, slots: int = 8) -> tuple[Tensor, Tensor]:
    torch.manual_seed(5)
    mask = torch.arange(slots) < torch.tensor(lengths).unsqueeze(1)
    return torch.randn(len(lengths), slots, VECTOR_DIM).double(), mask


def first_logits(generator: Generator, memory: Memory) -> Tensor:
    return generator.step(0, None, memory, None)[0]


ORDER = torch.tensor([4, 1, 0, 3, 2, 5, 6, 7])


def test_a_set_history_has_no_order(generator: Generator) -> None:
    vectors, mask = histories(5, 5)
    one, other = generator.encode(vectors, mask), generator.encode(vectors[:, ORDER], mask)
    assert torch.allclose(one.state, other.state, atol=1e-10)
    assert torch.allclose(first_logits(generator, one), first_logits(generator, other), atol=1e-10)


def test_an_ordered_history_has_one() -> None:
    generator = make(ordered=True)
    vectors, mask = histories(5, 5)
    one, other = generator.encode(vectors, mask), generator.encode(vectors[:, ORDER], mask)
    assert (one.state - other.state).abs().max() > 1e-3
    assert (first_logits(generator, one) - first_logits(generator, other)).abs().max() > 1e-3


@pytest.mark.parametrize("ordered", [False, True])
def test_empty_slots_change_nothing(ordered: bool) -> None:
    generator = make(ordered=ordered)
    vectors, mask = histories(3, 0)
    rubbish = torch.where(mask.unsqueeze(-1), vectors, 1e3)
    expected = generator.encode(vectors[:, :3], mask[:, :3])
    for padded in (vectors, rubbish):
        found = generator.encode(padded, mask)
        assert torch.allclose(found.state, expected.state, atol=1e-10)
        assert torch.allclose(first_logits(generator, found), first_logits(generator, expected), atol=1e-10)


@pytest.mark.parametrize("ordered", [False, True])
def test_an_empty_history_works(ordered: bool) -> None:
    generator = make(ordered=ordered)
    vectors, mask = histories(0, 2)
    padded, without_slots = generator.encode(vectors, mask), generator.encode(vectors[:1, :0], mask[:1, :0])
    assert torch.allclose(padded.state[:1], without_slots.state, atol=1e-10)
    assert torch.allclose(padded.state.norm(dim=-1), torch.ones(2).double())
    assert first_logits(generator, without_slots).isfinite().all()
    assert (padded.state[0] - padded.state[1]).abs().max() > 1e-3


def test_every_item_of_a_history_counts(generator: Generator) -> None:
    vectors, mask = histories(4)
    whole = generator.encode(vectors, mask).state
    for left_out in range(4):
        fewer = mask.clone()
        fewer[0, left_out] = False
        assert (generator.encode(vectors, fewer).state - whole).abs().max() > 1e-4


def test_dropout_works_in_training_alone(generator: Generator) -> None:
    vectors, mask = histories(4)
    one, other = generator.encode(vectors, mask), generator.encode(vectors, mask)
    assert torch.equal(first_logits(generator, one), first_logits(generator, other))
    generator.train()
    one, other = generator.encode(vectors, mask), generator.encode(vectors, mask)
    assert not torch.allclose(one.cross[0][0], other.cross[0][0], atol=1e-3)
    assert torch.equal(one.state, other.state)  # constants of the graph encoder


def uncached_logits(generator: Generator, memory: Memory, prefix: list[int]) -> Tensor:
    """Logits [B, V] behind a prefix: all positions from the start, plain causal attention, nothing remembered."""
    positions = [generator.start + generator.level_embedding[0]]
    for level, token in enumerate(prefix):
        positions.append(generator.embeddings[level].weight[token] + generator.level_embedding[level + 1])
    x = torch.stack(positions).expand(len(memory.bias), -1, -1)  # (B, P, D)
    for layer, cross in zip(generator.decoder, memory.cross, strict=True):
        heads = (generator.config.num_heads, -1)
        q, k, v = layer.self_attention.projection(layer.self_norm(x)).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, heads).transpose(1, 2) for part in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + layer.self_attention.out(mixed)
        rows = layer.cross_attention(layer.cross_norm(x).flatten(0, 1), *cross, memory.bias, x.shape[1])
        x = x + rows.view(x.shape)
        x = x + layer.feedforward(x)
    by_token = memory.state @ generator.token_keys[len(prefix)].T
    return generator.heads[len(prefix)](generator.decoder_norm(x[:, -1])) + by_token


@pytest.mark.parametrize("ordered", [False, True])
def test_cached_decoding_equals_a_recomputation(ordered: bool) -> None:
    generator = make(ordered=ordered)
    vectors, mask = histories(5, 0, 8)
    memory = generator.encode(vectors, mask)
    prefixes = [[first, second] for first in range(3) for second in range(4)]
    logits, cache = generator.step(0, None, memory, None)
    assert torch.allclose(logits[:, 0], uncached_logits(generator, memory, []), atol=1e-9)
    for level in (1, 2):
        written = torch.tensor([prefix[level - 1] for prefix in prefixes]).expand(3, -1)
        logits, cache = generator.step(level, written, memory, cache)
        for number, prefix in enumerate(prefixes):
            expected = uncached_logits(generator, memory, prefix[:level])
            assert torch.allclose(logits[:, number], expected, atol=1e-9), (level, prefix)


def children_of(rec_ids: list[tuple[int, ...]]) -> dict[tuple[int, ...], list[int]]:
    return {
        rec_id[:level]: sorted({other[level] for other in rec_ids if other[:level] == rec_id[:level]})
        for rec_id in rec_ids
        for level in range(len(VOCABULARIES))
    }


@pytest.mark.parametrize(
    "rec_ids",
    [
        [(0, 0, 0)],
        [(0, 0, 0), (0, 0, 1), (0, 3, 0), (2, 1, 0), (2, 2, 0), (2, 2, 1)],
        [(first, second, third) for first in range(3) for second in range(4) for third in range(2)],
    ],
    ids=["one item", "some", "every Rec-ID"],
)
def test_the_probabilities_of_all_items_sum_to_one(generator: Generator, rec_ids: list[tuple[int, ...]]) -> None:
    memory = generator.encode(*histories(4, 0))
    following = children_of(rec_ids)
    total = torch.zeros(2).double()
    for rec_id in rec_ids:
        log_prob = torch.zeros(2).double()
        for level, token in enumerate(rec_id):
            tokens = following[rec_id[:level]]
            logits = uncached_logits(generator, memory, list(rec_id[:level]))
            log_prob += logits[:, tokens].log_softmax(dim=-1)[:, tokens.index(token)]
        total += log_prob.exp()
    assert torch.allclose(total, torch.ones(2).double(), atol=1e-9)


def test_the_cache_is_the_positions_written_so_far(generator: Generator) -> None:
    """[rows, heads, width of a head] of every layer and position; the start stands once for each request."""
    memory = generator.encode(*histories(4, 0))
    _, cache = generator.step(0, None, memory, None)
    assert [[key.shape for key, _ in positions] for positions in cache] == [[(2, 2, 8)]] * 2
    _, grown = generator.step(1, torch.tensor([[0, 1, 2], [2, 2, 0]]), memory, cache)
    assert [[key.shape for key, _ in positions] for positions in grown] == [[(6, 2, 8)] * 2] * 2
    for before, after in zip(cache, grown, strict=True):
        for start, repeated in zip(before[0], after[0], strict=True):
            assert torch.equal(repeated, start.repeat_interleave(3, dim=0))  # the first request's rows come first


def test_child_log_probs_by_eye() -> None:
    """Three nodes with the children {1}, {0, 2, 3} and {0, 2}; four tokens of logits for each."""
    torch.manual_seed(6)
    starts, tokens = torch.tensor([0, 1, 4, 6]), torch.tensor([1, 0, 2, 3, 0, 2])
    level = TrieLevel(starts.int(), F.pad(tokens, (0, 3)).int(), torch.arange(3))
    logits, nodes = torch.randn(2, 3, 4).double(), torch.tensor([[1, 0, 2], [2, 2, 0]])
    found = child_log_probs(logits, nodes, level)
    for row, column in product(range(2), range(3)):
        first, end = list(pairwise(starts.tolist()))[nodes[row, column]]
        count = end - first
        assert (found.first[row, column].tolist(), found.end[row, column].tolist()) == ([first], [end])
        assert found.exists[row, column].tolist() == [slot < count for slot in range(3)]
        assert found.nodes[row, column].tolist() == [first, first + 1, first + 2]
        expected = logits[row, column, tokens[first:end]].log_softmax(dim=-1)
        assert torch.allclose(found.log_probs[row, column, :count], expected)
        assert (found.log_probs[row, column, count:] < NEGATIVE / 2).all()


def test_the_dense_term_is_the_cosine_of_history_state_and_key(generator: Generator) -> None:
    """A key is the first half of an item vector, of any length; the state is made of the second halves alone."""
    torch.manual_seed(7)
    items = torch.randn(5, VECTOR_DIM).double()
    keys = generator.item_keys(items)
    assert torch.allclose(keys, items[:, :3] / items[:, :3].norm(dim=-1, keepdim=True))
    vectors, mask = histories(3, 2)
    state = generator.encode(vectors, mask).state
    for row, count in enumerate((3, 2)):
        expected = vectors[row, :count, 3:].sum(0)
        assert torch.allclose(state[row], expected / expected.norm())
    other = torch.cat([torch.randn(2, 8, 3).double(), vectors[..., 3:]], dim=-1)
    assert torch.equal(generator.encode(other, mask).state, state)
    assert not torch.allclose(
        first_logits(generator, generator.encode(other, mask)),
        first_logits(generator, generator.encode(vectors, mask)),
        atol=1e-3,
    )  # the encoder reads both halves


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dim": 15, "num_heads": 2}, "dim=15 is not divisible by num_heads=2"),
        ({"vocabulary_sizes": (3, 0)}, "every size of the generator must be at least 1"),
        ({"max_history": 0}, "every size of the generator must be at least 1"),
        ({"vector_dim": 0}, "every size of the generator must be at least 1"),
        ({"vector_dim": 5}, "vector_dim=5 is odd; an item vector is a key and a context of equal length"),
    ],
)
def test_impossible_sizes_are_refused(change: dict[str, object], message: str) -> None:
    usable = {"vocabulary_sizes": (3, 2), "vector_dim": 4, "max_history": 5, "ordered_history": False}
    with pytest.raises(ValueError, match=message):
        GeneratorConfig(**(usable | change))
