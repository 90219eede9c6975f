"""The Rec-ID generator: a Transformer encoder-decoder over item vectors (MMGRec, arXiv 2404.16555).

What is unusual, and why:
- The history is a set: no absolute positions; with `ordered_history` a pairwise recency/distance bias instead.
- The user's vector is computed from the history, so unknown users and fresh histories need no retraining.
- Slot 0 of the encoder is learned: an empty history attends to it, and its final state is the *history state* of the
  dense term.
- Every level has its own vocabulary, embedding and head.

Letters: B = batch, H = history slots, S = H + 1, W = prefixes (beams, or targets in training), D = model width,
F = columns of an item vector.
"""

from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.attention import (
    CrossAttention,
    Positions,
    PrefixSelfAttention,
    RelationAwareSelfAttention,
    RelationBias,
    floor_of,
)


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """Sizes of the generator.

    Raises:
        ValueError: a size below 1, or `dim` that the heads do not divide.
    """

    vocabulary_sizes: tuple[int, ...]
    vector_dim: int
    max_history: int
    ordered_history: bool
    dim: int = 128
    num_heads: int = 4
    num_encoder_layers: int = 2
    num_decoder_layers: int = 2
    feedforward_dim: int = 256
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.dim % self.num_heads:
            raise ValueError(f"dim={self.dim} is not divisible by num_heads={self.num_heads}")
        if min(*self.vocabulary_sizes, self.vector_dim, self.max_history, self.num_encoder_layers) < 1:
            raise ValueError(f"every size of the generator must be at least 1: {self}")


class Memory(NamedTuple):
    """What the encoder hands to every decoding step.

    Attributes:
        cross: keys [B, A, E, S] and values [B, A, S, E] of every decoder layer.
        bias: [B, 1, 1, S], added to attention scores: 0, or a floor at an empty slot.
        state: [B, F], unit norm: the history state of the dense term.
    """

    cross: tuple[tuple[Tensor, Tensor], ...]
    bias: Tensor
    state: Tensor


Cache = tuple[Positions, ...]
"""The positions written so far, of every decoder layer."""


class EncoderLayer(nn.Module):
    """Relation-aware self-attention and a feed-forward part, both pre-normalised."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.dim)
        self.attention = RelationAwareSelfAttention(config.dim, config.num_heads)
        self.feedforward = _feedforward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, rows: Tensor, user: Tensor, bias: Tensor) -> Tensor:
        """[B · S, D] to [B · S, D]; the arguments are those of the attention."""
        rows = rows + self.dropout(self.attention(self.attention_norm(rows), user, bias))
        return rows + self.feedforward(rows)


class DecoderLayer(nn.Module):
    """Prefix self-attention, cross-attention to the history, feed-forward; all pre-normalised."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.self_norm = nn.LayerNorm(config.dim)
        self.self_attention = PrefixSelfAttention(config.dim, config.num_heads)
        self.cross_norm = nn.LayerNorm(config.dim)
        self.cross_attention = CrossAttention(config.dim, config.num_heads)
        self.feedforward = _feedforward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, rows: Tensor, cross: tuple[Tensor, Tensor], bias: Tensor, earlier: Positions, width: int
    ) -> tuple[Tensor, Positions]:
        """One new position of W = `width` prefixes per request: [B · W, D] and all positions so far."""
        attended, positions = self.self_attention(self.self_norm(rows), earlier)
        rows = rows + self.dropout(attended)
        rows = rows + self.dropout(self.cross_attention(self.cross_norm(rows), *cross, bias, width))
        return rows + self.feedforward(rows), positions


class Generator(nn.Module):
    """Writes Rec-IDs level by level; `encode` once, then `step` for each level."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.item_projection = nn.Linear(config.vector_dim, config.dim)
        self.empty_slot = nn.Parameter(torch.randn(config.dim) * 0.02)
        self.user_projection = nn.Sequential(nn.Linear(config.dim, config.dim), nn.ReLU(), nn.LayerNorm(config.dim))
        self.bias = RelationBias(config.num_heads, config.max_history + 1) if config.ordered_history else None
        self.encoder = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_encoder_layers))
        self.encoder_norm = nn.LayerNorm(config.dim)
        self.state_head = nn.Linear(2 * config.dim, config.vector_dim)
        self.item_head = nn.Linear(config.vector_dim, config.vector_dim)
        self.dense_scale = nn.Parameter(torch.tensor(2.0))
        self.start = nn.Parameter(torch.randn(config.dim) * 0.02)
        # The last level's token is written but never read, so it needs no embedding.
        self.embeddings = nn.ModuleList(nn.Embedding(size, config.dim) for size in config.vocabulary_sizes[:-1])
        self.level_embedding = nn.Parameter(torch.randn(len(config.vocabulary_sizes), config.dim) * 0.02)
        self.decoder = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_decoder_layers))
        self.decoder_norm = nn.LayerNorm(config.dim)
        self.heads = nn.ModuleList(nn.Linear(config.dim, size) for size in config.vocabulary_sizes)
        self.dropout = nn.Dropout(config.dropout)

    @property
    def num_levels(self) -> int:
        """Tokens of a Rec-ID."""
        return len(self.heads)

    def encode(self, vectors: Tensor, mask: Tensor) -> Memory:
        """Encode histories.

        Args:
            vectors: [B, H, F], item vectors, newest first (any order for a set); what stands in empty slots is ignored.
            mask: bool [B, H], False = empty slot.
        """
        filled = mask.to(vectors.dtype)
        items = self.item_projection(vectors) * filled.unsqueeze(-1)
        user = self.user_projection(items.sum(1) / filled.sum(1, keepdim=True).clamp(min=1))
        x = torch.cat([self.empty_slot.expand(items.shape[0], 1, -1), items], dim=1)
        slots = x.shape[1]
        # The learned slot in front is never empty.
        bias = F.pad((1 - filled) * floor_of(filled.dtype), (1, 0)).unsqueeze(1).unsqueeze(1)
        relation = bias if self.bias is None else bias + self.bias(slots)
        rows = self.dropout(x.view(-1, x.shape[-1]))
        for layer in self.encoder:
            rows = layer(rows, user, relation)
        rows = self.encoder_norm(rows)
        own = rows.view(-1, slots, rows.shape[-1])[:, 0]
        state = F.normalize(self.state_head(torch.cat([own, user], dim=-1)), dim=-1)
        cross = tuple(cast(DecoderLayer, layer).cross_attention.remember(rows, slots) for layer in self.decoder)
        return Memory(cross, bias, state)

    def step(self, level: int, tokens: Tensor | None, memory: Memory, cache: Cache | None) -> tuple[Tensor, Cache]:
        """Logits of one level.

        Args:
            level: which level is written.
            tokens: int [B, W], the tokens written at the level before; None at level 0, where W = 1.
            memory: from `encode`.
            cache: from the step before; None at level 0.

        Returns:
            [B, W, vocabulary of the level] and the cache for the next step.
        """
        if tokens is None:
            width, rows = 1, (self.start + self.level_embedding[level]).expand(memory.bias.shape[0], -1)
        else:
            width = tokens.shape[1]
            rows = F.embedding(
                tokens.flatten(), cast(nn.Embedding, self.embeddings[level - 1]).weight + self.level_embedding[level]
            )
            if level == 1 and cache is not None:
                cache = _repeat(cache, width)
        rows = self.dropout(rows)
        grown = []
        for number, layer in enumerate(self.decoder):
            rows, positions = layer(rows, memory.cross[number], memory.bias, cache[number] if cache else (), width)
            grown.append(positions)
        logits = self.heads[level](self.decoder_norm(rows))
        return logits.view(-1, width, logits.shape[-1]), tuple(grown)

    def item_keys(self, vectors: Tensor) -> Tensor:
        """Item side of the dense term: unit vectors [..., F] of item vectors [..., F]."""
        return F.normalize(vectors + self.item_head(vectors), dim=-1)

    def dense_logits(self, state: Tensor, keys: Tensor) -> Tensor:
        """Scaled cosine of history states [B, F] and item keys [N, F]: [B, N]."""
        return state @ keys.T * self.dense_scale.exp()


def _repeat(cache: Cache, width: int) -> Cache:
    """The start, one row per request, for all W = `width` prefixes of each."""

    def rows(start: Tensor) -> Tensor:
        return start.unsqueeze(1).expand(-1, width, -1, -1).flatten(0, 1)

    return tuple(tuple((rows(keys), rows(values)) for keys, values in positions) for positions in cache)


def _feedforward(config: GeneratorConfig) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(config.dim),
        nn.Linear(config.dim, config.feedforward_dim),
        nn.ReLU(),
        nn.Linear(config.feedforward_dim, config.dim),
        nn.Dropout(config.dropout),
    )
