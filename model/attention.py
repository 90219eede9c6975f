"""Attention layers of the generator.

Letters: B = batch, S = slots of the encoder (learned slot + history), W = prefixes (beams, or targets in training),
A = heads, E = width of a head, D = A · E. Positions come as rows [B · S, D] or [B · W, D]: a matrix is what a product
with a weight is fastest on, in training and in the exported graph.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NEGATIVE = -1e9
"""A finite floor in place of minus infinity: a row that is masked whole must not become NaN."""


def floor_of(dtype: torch.dtype) -> float:
    """`NEGATIVE`, or the lowest number where the dtype does not reach it (float16)."""
    return max(NEGATIVE, torch.finfo(dtype).min)


class RelationAwareSelfAttention(nn.Module):
    """Self-attention conditioned on the user (MMGRec, arXiv 2404.16555, relation-aware self-attention).

    Scores are `(Q Kᵀ + Q_u K_uᵀ) / √E`, the output is `A (V + V_u)`. The paper forms `W_u = MLP(h_u) W`; here
    `MLP(h_u)` gives one factor per channel, which holds the one-scalar form of the authors' code as a special case, and
    `Q_u, K_u, V_u` have a projection of their own. `[Q; Q_u]` and `[K; K_u]` side by side in every head make it one
    product, and the factors of `Q_u` and `K_u` multiply each other, so one side carries both.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.shared = nn.Linear(dim, 3 * dim)
        self.relation = nn.Linear(dim, 3 * dim, bias=False)
        self.user_gate = nn.Sequential(nn.Linear(dim, dim // 2), nn.ReLU(), nn.Linear(dim // 2, 3 * dim))
        self.out = nn.Linear(dim, dim)

    def forward(self, rows: Tensor, user: Tensor, bias: Tensor) -> Tensor:
        """Attend.

        Args:
            rows: [B · S, D].
            user: [B, D], the user's vector.
            bias: added to the scores; any shape that broadcasts to [B, A, S, S] and ends in S.

        Returns:
            [B · S, D].
        """
        slots, dim = bias.shape[-1], rows.shape[-1]
        heads = (self.num_heads, dim // self.num_heads)
        gate = self.user_gate(user).view(-1, 1, 3, *heads)
        factor = gate[:, :, 0] * gate[:, :, 1]
        factor = torch.cat([torch.ones_like(factor), factor], dim=-1)  # (B, 1, A, 2E)
        queries = self._side_by_side(rows, 0).view(-1, slots, self.num_heads, 2 * heads[1]) * factor
        keys = self._side_by_side(rows, 1).view(-1, slots, self.num_heads, 2 * heads[1])
        scores = queries.transpose(1, 2) @ keys.permute(0, 2, 3, 1) / math.sqrt(heads[1])
        weights = (scores + bias).softmax(dim=-1)
        shared = F.linear(rows, self.shared.weight[2 * dim :], self.shared.bias[2 * dim :]).view(-1, slots, *heads)
        relation = F.linear(rows, self.relation.weight[2 * dim :]).view(-1, slots, *heads)
        values = (shared + relation * gate[:, :, 2]).transpose(1, 2)
        return self.out((weights @ values).transpose(1, 2).reshape(-1, dim))

    def _side_by_side(self, rows: Tensor, part: int) -> Tensor:
        """Shared and relation projection (0 = query, 1 = key), next to each other in every head: [B · S, 2D].

        The weights are put together here and not stored so: a graph folds that away, and each keeps its own start.
        """
        heads = (3, self.num_heads, -1)
        shared, relation = self.shared.weight.unflatten(0, heads)[part], self.relation.weight.unflatten(0, heads)[part]
        bias = self.shared.bias.unflatten(0, heads)[part]
        weight = torch.cat([shared, relation], dim=1).flatten(0, 1)
        return F.linear(rows, weight, torch.cat([bias, torch.zeros_like(bias)], dim=1).flatten())


class PlainSelfAttention(nn.Module):
    """Self-attention that does not know the user, with the call of the relation-aware one: for ablations."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.projection = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, rows: Tensor, _user: Tensor, bias: Tensor) -> Tensor:
        """[B · S, D] to [B · S, D]; bias as for the relation-aware attention."""
        slots, dim = bias.shape[-1], rows.shape[-1]
        parts = self.projection(rows).view(-1, slots, 3, self.num_heads, dim // self.num_heads)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        weights = (queries @ keys.transpose(-1, -2) / math.sqrt(queries.shape[-1]) + bias).softmax(dim=-1)
        return self.out((weights @ values).transpose(1, 2).reshape(-1, dim))


class RelationBias(nn.Module):
    """Pairwise recency and distance bias for ordered histories; slot 0 is the learned one, slot 1 the newest item.

    Distances are differences in order, never in seconds, in buckets that widen like a logarithm.
    """

    recency_bucket: Tensor
    distance_bucket: Tensor

    def __init__(self, num_heads: int, max_slots: int, num_buckets: int = 16) -> None:
        super().__init__()
        self.recency = nn.Parameter(torch.randn(num_heads, num_buckets) * 0.02)
        self.distance = nn.Parameter(torch.randn(num_heads, 2 * num_buckets) * 0.02)
        self.num_buckets = num_buckets
        positions = torch.arange(max_slots)
        self.register_buffer("recency_bucket", log_bucket(positions, num_buckets), persistent=False)
        step = positions[None, :] - positions[:, None]
        signed = log_bucket(step.abs(), num_buckets) + (step > 0) * num_buckets
        self.register_buffer("distance_bucket", signed, persistent=False)

    def forward(self, num_slots: int) -> Tensor:
        """Bias [A, num_slots, num_slots] for (query slot, key slot)."""
        by_distance = self.distance[:, self.distance_bucket[:num_slots, :num_slots]]
        return by_distance + self.recency[:, None, self.recency_bucket[:num_slots]]


def log_bucket(distance: Tensor, num_buckets: int) -> Tensor:
    """0, 1, 2, 3, 4 exactly, then buckets that widen by a quarter each."""
    exact = 4
    wide = exact + torch.log(distance.clamp(min=exact) / exact) / math.log(1.25)
    return torch.where(distance < exact, distance, wide.long()).clamp(max=num_buckets - 1)


class CrossAttention(nn.Module):
    """Attention of decoder positions to the history; keys and values are made once per request, shared by all beams."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def remember(self, rows: Tensor, slots: int) -> tuple[Tensor, Tensor]:
        """Keys [B, A, E, S] and values [B, A, S, E] of encoder states [B · S, D]."""
        weights, biases = self.key_value.weight.chunk(2), self.key_value.bias.chunk(2)
        keys, values = (
            F.linear(rows, weight, bias).view(-1, slots, self.num_heads, rows.shape[-1] // self.num_heads)
            for weight, bias in zip(weights, biases, strict=True)
        )
        return keys.permute(0, 2, 3, 1), values.transpose(1, 2)

    def forward(self, rows: Tensor, keys: Tensor, values: Tensor, bias: Tensor, width: int) -> Tensor:
        """Attend from rows [B · W, D] (W = `width` beams) to the remembered history; bias [B, 1, 1, S]."""
        queries = self.query(rows).view(-1, width, self.num_heads, keys.shape[2]).transpose(1, 2)  # (B, A, W, E)
        scores = queries @ keys / math.sqrt(keys.shape[2])
        weights = (scores + bias).softmax(dim=-1)
        return self.out((weights @ values).transpose(1, 2).reshape(-1, rows.shape[-1]))


Positions = tuple[tuple[Tensor, Tensor], ...]
"""Keys and values [R, A, E] of every position of R prefixes."""


class PrefixSelfAttention(nn.Module):
    """Causal self-attention over the few tokens of a Rec-ID written so far; one new position at a time.

    A prefix is at most five positions long, so products and sums by element beat thousands of tiny matrix products.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.projection = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, rows: Tensor, earlier: Positions) -> tuple[Tensor, Positions]:
        """Attend from the newest position to itself and all earlier ones.

        Args:
            rows: [R, D], the newest position of each of R prefixes.
            earlier: the positions before; empty at the first, which has nothing but itself to attend to.

        Returns:
            [R, D] and the positions with the new one appended.
        """
        key, value = self._project(rows, 1), self._project(rows, 2)
        positions = (*earlier, (key, value))
        if not earlier:
            return self.out(value.view(rows.shape)), positions
        query = self._project(rows, 0)
        scores = torch.cat([(query * keys).sum(-1, keepdim=True) for keys, _ in positions], dim=-1)
        weights = (scores / math.sqrt(query.shape[-1])).softmax(dim=-1).split(1, dim=-1)  # P of [R, A, 1]
        mixed = [weight * values for weight, (_, values) in zip(weights, positions, strict=True)]
        return self.out(sum(mixed[1:], mixed[0]).view(-1, rows.shape[-1])), positions

    def _project(self, rows: Tensor, part: int) -> Tensor:
        """Query (0), key (1) or value (2): [R, A, E]. A product for each: no copy to take them apart."""
        weight, bias = self.projection.weight.chunk(3)[part], self.projection.bias.chunk(3)[part]
        return F.linear(rows, weight, bias).view(-1, self.num_heads, rows.shape[-1] // self.num_heads)
