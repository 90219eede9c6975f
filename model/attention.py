"""Attention layers of the generator.

Letters: B = batch, S = slots of the encoder (learned slot + history), A = heads, E = width of a head, D = A · E.
"""

import math

import torch
from torch import Tensor, nn

NEGATIVE = -1e9
"""A finite floor in place of minus infinity: a row that is masked whole must not become NaN."""


class RelationAwareSelfAttention(nn.Module):
    """Self-attention conditioned on the user (MMGRec, arXiv 2404.16555, relation-aware self-attention).

    Scores are `(Q Kᵀ + Q_u K_uᵀ) / √E`, the output is `A (V + V_u)`. The paper forms `W_u = MLP(h_u) W`; here
    `MLP(h_u)` gives one factor per channel, which holds the one-scalar form of the authors' code as a special case, and
    `Q_u, K_u, V_u` have a projection of their own. Concatenating `[Q; Q_u]` and `[K; K_u]` makes it one product.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.shared = nn.Linear(dim, 3 * dim)
        self.relation = nn.Linear(dim, 3 * dim, bias=False)
        self.user_gate = nn.Sequential(nn.Linear(dim, dim // 2), nn.ReLU(), nn.Linear(dim // 2, 3 * dim))
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, user: Tensor, mask: Tensor, bias: Tensor | None) -> Tensor:
        """Attend.

        Args:
            x: [B, S, D].
            user: [B, D], the user's vector.
            mask: bool [B, S], False = empty slot.
            bias: [A, S, S] added to the scores, or None for a set.

        Returns:
            [B, S, D].
        """
        q, k, v = self.shared(x).chunk(3, dim=-1)
        q_user, k_user, v_user = (self.relation(x) * self.user_gate(user).unsqueeze(1)).chunk(3, dim=-1)
        queries = torch.cat([self._heads(q), self._heads(q_user)], dim=-1)  # (B, A, S, 2E)
        keys = torch.cat([self._heads(k), self._heads(k_user)], dim=-1)
        scores = queries @ keys.transpose(-1, -2) / math.sqrt(x.shape[-1] // self.num_heads)
        if bias is not None:
            scores = scores + bias
        scores = scores.masked_fill(~mask[:, None, None, :], NEGATIVE)
        weights = scores.softmax(dim=-1)
        mixed = weights @ self._heads(v + v_user)  # (B, A, S, E)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


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
        self.register_buffer("recency_bucket", _log_bucket(positions, num_buckets), persistent=False)
        step = positions[None, :] - positions[:, None]
        signed = _log_bucket(step.abs(), num_buckets) + (step > 0) * num_buckets
        self.register_buffer("distance_bucket", signed, persistent=False)

    def forward(self, num_slots: int) -> Tensor:
        """Bias [A, num_slots, num_slots] for (query slot, key slot)."""
        by_distance = self.distance[:, self.distance_bucket[:num_slots, :num_slots]]
        return by_distance + self.recency[:, None, self.recency_bucket[:num_slots]]


def _log_bucket(distance: Tensor, num_buckets: int) -> Tensor:
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

    def remember(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys [B, A, E, S] and values [B, A, S, E] of encoder states [B, S, D]."""
        keys, values = self.key_value(memory).chunk(2, dim=-1)
        heads = (self.num_heads, -1)
        return keys.unflatten(-1, heads).permute(0, 2, 3, 1), values.unflatten(-1, heads).transpose(1, 2)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """Attend from x [B, P, D] (P positions or beams) to the remembered history with mask bool [B, S]."""
        queries = self.query(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (B, A, P, E)
        scores = queries @ keys / math.sqrt(x.shape[-1] // self.num_heads)
        scores = scores.masked_fill(~mask[:, None, None, :], NEGATIVE)
        weights = scores.softmax(dim=-1)
        return self.out((weights @ values).transpose(1, 2).flatten(2))


class PrefixSelfAttention(nn.Module):
    """Causal self-attention over the few tokens of a Rec-ID written so far; one new position at a time.

    A prefix is at most five positions long, so products and sums by element beat thousands of tiny matrix products.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.projection = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, cache: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Attend from the newest position to itself and all earlier ones.

        Args:
            x: [B, W, D], the newest position of each of W prefixes.
            cache: keys and values [B, W, P, A, E] of the P earlier positions; None at the first.

        Returns:
            [B, W, D] and the cache with the new position appended.
        """
        query, key, value = (part.unflatten(-1, (self.num_heads, -1)) for part in self.projection(x).chunk(3, dim=-1))
        keys, values = key.unsqueeze(2), value.unsqueeze(2)
        if cache is not None:
            keys, values = torch.cat([cache[0], keys], dim=2), torch.cat([cache[1], values], dim=2)
        scores = (query.unsqueeze(2) * keys).sum(-1) / math.sqrt(query.shape[-1])  # (B, W, P + 1, A)
        weights = scores.softmax(dim=2).unsqueeze(-1)
        return self.out((weights * values).sum(2).flatten(2)), (keys, values)
