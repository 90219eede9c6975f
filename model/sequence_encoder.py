"""The learned part of the state of an ordered history: what its order says, beyond a sum weighted by recency.

A small causal Transformer over the item vectors (SASRec, arXiv 1808.09781, with the item vectors of the graph encoder
in place of embeddings of its own, and distances in place of positions). It moves the history state among the items'
keys, and begins by leaving it where it is. New items need no training: it knows nothing but their vectors.

All histories stand newest first, as the decoder has them, so that "earlier" is a higher slot.

Letters: B = batch, H = history slots, S = H + 1, F = columns of an item vector, D = F / 2, those of a key, E = width,
A = heads.
"""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.attention import floor_of, log_bucket

NUM_BUCKETS = 16


class SequenceLayer(nn.Module):
    """Causal self-attention with a bias by distance, and a feed-forward part; both pre-normalised."""

    bucket: Tensor

    def __init__(self, dim: int, num_heads: int, max_slots: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)
        self.distance = nn.Parameter(torch.zeros(num_heads, NUM_BUCKETS))
        places = torch.arange(max_slots)
        gap = places.unsqueeze(0) - places.unsqueeze(1)  # of the key's slot to the query's: what is earlier is positive
        self.register_buffer("bucket", log_bucket(gap.clamp(min=0), NUM_BUCKETS), persistent=False)
        self.feedforward = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(dim, dim)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, closed: Tensor, num_queries: int) -> Tensor:
        """The first `num_queries` slots Q of x [B, S, E] look at what is open to them: [B, Q, E].

        Args:
            x: [B, S, E].
            closed: [B or 1, 1, S, S], 0 = open, else the floor of scores.
            num_queries: Q, at least 1.
        """
        slots, dim = x.shape[1:]
        heads = (self.num_heads, dim // self.num_heads)
        normed = self.attention_norm(x)
        # Rows for every product with a weight (decisions, entry 14); of the last layer one slot alone asks.
        queries = self.query(normed[:, :num_queries].reshape(-1, dim)).view(-1, num_queries, *heads).transpose(1, 2)
        keys, values = self.key_value(normed.view(-1, dim)).view(-1, slots, 2, *heads).permute(2, 0, 3, 1, 4)
        bias = self.distance[:, self.bucket[:num_queries, :slots]] + closed[:, :, :num_queries]
        weights = self.dropout((queries @ keys.transpose(-1, -2) / math.sqrt(heads[1]) + bias).softmax(dim=-1))
        mixed = self.out((weights @ values).transpose(1, 2).reshape(-1, dim))
        rows = x[:, :num_queries].reshape(-1, dim) + self.dropout(mixed)
        return (rows + self.dropout(self.feedforward(rows))).view(-1, num_queries, dim)


class SequenceEncoder(nn.Module):
    """Moves history states by what the order of the history says.

    Args:
        vector_dim: F.
        max_history: largest H.
        dim: E.
        num_heads: A.
        num_layers: at least 1.
        dropout: of what is computed, in training only.
    """

    earlier: Tensor
    share: Tensor

    def __init__(
        self, *, vector_dim: int, max_history: int, dim: int, num_heads: int, num_layers: int, dropout: float
    ) -> None:
        super().__init__()
        slots = max_history + 1
        self.item_projection = nn.Linear(vector_dim, dim)
        self.layers = nn.ModuleList(SequenceLayer(dim, num_heads, slots, dropout) for _ in range(num_layers))
        self.norm = nn.LayerNorm(dim)
        self.move = nn.Linear(dim, vector_dim // 2)
        nn.init.zeros_(self.move.weight)
        nn.init.zeros_(self.move.bias)
        self.dropout = nn.Dropout(dropout)
        # How much of the way states go: all of it in training, what validation says when serving.
        self.register_buffer("share", torch.ones(()))
        self.scale = math.sqrt(vector_dim / 2)  # brings columns of unit vectors to unit variance
        places = torch.arange(slots)
        self.register_buffer("earlier", places.unsqueeze(0) >= places.unsqueeze(1), persistent=False)

    def forward(self, state: Tensor, vectors: Tensor, filled: Tensor) -> Tensor:
        """Moved states [B, D], unit norm; an empty history stays where it is.

        Args:
            state: unit vectors [B, D], of model.history_state.
            vectors: [B, H, F], item vectors, newest first.
            filled: [B, H], 1 = item, 0 = empty slot; empty slots stand behind the items.
        """
        any_filled = (filled.sum(1, keepdim=True) > 0).to(state.dtype)
        move = self._moves(vectors, filled, num_queries=1)[:, 0]
        return F.normalize(state + any_filled * move, dim=-1)

    def of_prefixes(self, states: Tensor, vectors: Tensor) -> Tensor:
        """Moved states [B, H, D] of every history as it was when the item in the slot was its newest.

        Args:
            states: [B, H, D], of the same histories.
            vectors: [B, H, F], newest first; what stands in front of a history has no meaning, nothing looks there.
        """
        moves = self._moves(vectors, torch.ones_like(vectors[..., 0]), num_queries=vectors.shape[1])
        return F.normalize(states + moves, dim=-1)

    def _moves(self, vectors: Tensor, filled: Tensor, num_queries: int) -> Tensor:
        """[B, num_queries, D]."""
        # A slot behind the last: a history may have none at all, and a graph has to have something to look at.
        rows = self.item_projection(vectors.reshape(-1, vectors.shape[-1]) * self.scale)
        x = F.pad(self.dropout(rows).view(*vectors.shape[:2], rows.shape[-1]), (0, 0, 0, 1))
        slots = x.shape[1]
        open_ = self.earlier[:slots, :slots] * F.pad(filled, (0, 1)).unsqueeze(1).unsqueeze(1)
        closed = (1 - open_) * floor_of(x.dtype)
        for number, layer in enumerate(self.layers):
            last = number == len(self.layers) - 1
            x = cast(SequenceLayer, layer)(x, closed, num_queries if last else slots)
        moves: Tensor = self.share * self.move(self.norm(x))
        return moves
