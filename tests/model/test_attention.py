"""Attention layers beside the paper's formulas written with loops; a set has no order and padding says nothing."""

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.attention import NEGATIVE, CrossAttention, PrefixSelfAttention, RelationAwareSelfAttention, RelationBias

DIM, HEADS, WIDTH = 12, 3, 4


@pytest.fixture
def attention() -> RelationAwareSelfAttention:
    torch.manual_seed(0)
    return RelationAwareSelfAttention(DIM, HEADS).double().eval()


def inputs(batch: int = 2, slots: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """x, user vectors and a mask with one empty slot in the second row."""
    torch.manual_seed(1)
    mask = torch.ones(batch, slots, dtype=torch.bool)
    mask[1, -1] = False
    return torch.randn(batch, slots, DIM).double(), torch.randn(batch, DIM).double(), mask


def floor(mask: Tensor) -> Tensor:
    """What an empty slot adds to the scores: [B, 1, 1, S]."""
    return torch.where(mask, 0.0, NEGATIVE).double()[:, None, None, :]


def attend(
    layer: RelationAwareSelfAttention, x: Tensor, user: Tensor, mask: Tensor, bias: Tensor | None = None
) -> Tensor:
    """The layer on [B, S, D], which it takes as rows."""
    added = floor(mask) if bias is None else floor(mask) + bias
    return layer(x.flatten(0, 1), user, added).view(x.shape)


def by_the_paper(
    layer: RelationAwareSelfAttention, x: Tensor, user: Tensor, mask: Tensor, bias: Tensor | None
) -> Tensor:
    """`softmax((Q Kᵀ + Q_u K_uᵀ) / √d) (V + V_u)`, one head, one query and one key at a time."""
    answers = []
    for row in range(len(x)):
        q, k, v = layer.shared(x[row]).split(DIM, dim=-1)
        gate = layer.user_gate(user[row])
        q_user, k_user, v_user = torch.stack([layer.relation(slot) * gate for slot in x[row]]).split(DIM, dim=-1)
        slots, mixed = range(x.shape[1]), torch.zeros(x.shape[1], DIM).double()
        for head in range(HEADS):
            part = slice(head * WIDTH, (head + 1) * WIDTH)
            for query in slots:
                scores = torch.full((x.shape[1],), -math.inf).double()
                for key in slots:
                    if mask[row, key]:
                        product = q[query, part] @ k[key, part] + q_user[query, part] @ k_user[key, part]
                        scores[key] = product / math.sqrt(WIDTH) + (0 if bias is None else bias[head, query, key])
                weights = scores.exp() / scores.exp().sum()
                mixed[query, part] = sum(weights[key] * (v + v_user)[key, part] for key in slots)
        answers.append(layer.out(mixed))
    return torch.stack(answers)


@pytest.mark.parametrize("with_bias", [False, True])
def test_the_formula_of_the_paper(attention: RelationAwareSelfAttention, with_bias: bool) -> None:
    x, user, mask = inputs()
    bias = torch.randn(HEADS, 5, 5).double() if with_bias else None
    assert torch.allclose(
        attend(attention, x, user, mask, bias), by_the_paper(attention, x, user, mask, bias), atol=1e-10
    )


def test_the_user_matters(attention: RelationAwareSelfAttention) -> None:
    x, user, mask = inputs()
    one, other = (attend(attention, x, vectors, mask) for vectors in (user, user.flip(0)))
    assert not torch.allclose(one, other, atol=1e-4)


def test_a_set_has_no_order(attention: RelationAwareSelfAttention) -> None:
    x, user, mask = inputs()
    order = torch.tensor([3, 0, 4, 2, 1])
    shuffled = attend(attention, x[:, order], user, mask[:, order])
    assert torch.allclose(shuffled, attend(attention, x, user, mask)[:, order], atol=1e-12)


def test_empty_slots_change_nothing(attention: RelationAwareSelfAttention) -> None:
    x, user, mask = inputs(slots=4)
    padded = torch.cat([x, 100 * torch.randn(2, 3, DIM).double()], dim=1)
    longer = torch.cat([mask, torch.zeros(2, 3, dtype=torch.bool)], dim=1)
    found = attend(attention, padded, user, longer)[:, :4]
    assert torch.allclose(found, attend(attention, x, user, mask), atol=1e-12)


def test_a_row_that_is_masked_whole_stays_finite(attention: RelationAwareSelfAttention) -> None:
    x, user, mask = inputs()
    assert attend(attention, x, user, torch.zeros_like(mask)).isfinite().all()


def test_relation_bias_by_loops() -> None:
    torch.manual_seed(2)
    bias = RelationBias(HEADS, max_slots=40, num_buckets=8)
    answer, buckets = bias(30), bias.recency_bucket
    for query in range(30):
        for key in range(30):
            side = 8 if key > query else 0  # a key older than the query, and one newer, are told apart
            expected = bias.distance[:, side + buckets[abs(key - query)]] + bias.recency[:, buckets[key]]
            assert torch.equal(answer[:, query, key], expected)


def test_buckets_widen_like_a_logarithm() -> None:
    buckets = RelationBias(1, max_slots=200, num_buckets=16).recency_bucket.tolist()
    assert buckets[:5] == [0, 1, 2, 3, 4]
    assert all(later - earlier in (0, 1) for earlier, later in pairwise(buckets))
    widths = [buckets.count(bucket) for bucket in range(15)]
    assert widths[-1] > widths[8] > widths[5]
    assert buckets[-1] == 15


def test_relation_bias_depends_on_order(attention: RelationAwareSelfAttention) -> None:
    x, user, _ = inputs()
    mask = torch.ones(2, 5, dtype=torch.bool)
    bias = RelationBias(HEADS, max_slots=5).double()(5)
    order = torch.tensor([0, 2, 1, 4, 3])
    before, after = attend(attention, x, user, mask, 50 * bias), attend(attention, x[:, order], user, mask, 50 * bias)
    assert (after - before[:, order]).abs().max() > 1e-3


def cross_attend(layer: CrossAttention, queries: Tensor, x: Tensor, mask: Tensor) -> Tensor:
    """The layer on queries [B, W, D] and encoder states [B, S, D], which it takes as rows."""
    remembered = layer.remember(x.flatten(0, 1), x.shape[1])
    return layer(queries.flatten(0, 1), *remembered, floor(mask), queries.shape[1]).view(queries.shape)


def test_cross_attention_is_scaled_dot_product_attention() -> None:
    torch.manual_seed(3)
    layer = CrossAttention(DIM, HEADS).double().eval()
    x, _, mask = inputs()
    queries = torch.randn(2, 7, DIM).double()

    def heads(tensor: Tensor) -> Tensor:
        return tensor.unflatten(-1, (HEADS, WIDTH)).transpose(1, 2)

    keys, values = layer.key_value(x).chunk(2, dim=-1)
    mixed = F.scaled_dot_product_attention(
        heads(layer.query(queries)), heads(keys), heads(values), attn_mask=mask[:, None, None, :]
    )
    expected = layer.out(mixed.transpose(1, 2).flatten(2))
    assert torch.allclose(cross_attend(layer, queries, x, mask), expected, atol=1e-12)


def test_cross_attention_ignores_empty_slots() -> None:
    torch.manual_seed(3)
    layer = CrossAttention(DIM, HEADS).double().eval()
    x, _, mask = inputs()
    other = x.masked_fill(~mask.unsqueeze(-1), 77.0)
    queries = torch.randn(2, 7, DIM).double()
    assert torch.equal(cross_attend(layer, queries, x, mask), cross_attend(layer, queries, other, mask))


def test_prefix_attention_one_position_at_a_time_is_causal_attention() -> None:
    torch.manual_seed(4)
    layer = PrefixSelfAttention(DIM, HEADS).double().eval()
    prefixes = torch.randn(2, 6, 5, DIM).double()  # (B, W, P, D)
    q, k, v = (part.unflatten(-1, (HEADS, WIDTH)).transpose(2, 3) for part in layer.projection(prefixes).chunk(3, -1))
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    expected = layer.out(mixed.transpose(2, 3).flatten(3))
    positions = ()
    for number in range(5):
        answer, positions = layer(prefixes[:, :, number].flatten(0, 1), positions)
        assert torch.allclose(answer.view(2, 6, DIM), expected[:, :, number], atol=1e-12), number
    assert [key.shape for key, _ in positions] == [(12, HEADS, WIDTH)] * 5
