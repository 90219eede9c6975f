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

from model.attention import CrossAttention, PrefixSelfAttention, RelationAwareSelfAttention, RelationBias


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
        mask: bool [B, S].
        state: [B, F], unit norm: the history state of the dense term.
    """

    cross: tuple[tuple[Tensor, Tensor], ...]
    mask: Tensor
    state: Tensor


Cache = tuple[tuple[Tensor, Tensor], ...]


class EncoderLayer(nn.Module):
    """Relation-aware self-attention and a feed-forward part, both pre-normalised."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.dim)
        self.attention = RelationAwareSelfAttention(config.dim, config.num_heads)
        self.feedforward = _feedforward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, user: Tensor, mask: Tensor, bias: Tensor | None) -> Tensor:
        """[B, S, D] to [B, S, D]."""
        x = x + self.dropout(self.attention(self.attention_norm(x), user, mask, bias))
        return x + self.feedforward(x)


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
        self, x: Tensor, cross: tuple[Tensor, Tensor], mask: Tensor, cache: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One new position of W prefixes: [B, W, D] and the grown cache."""
        attended, cache = self.self_attention(self.self_norm(x), cache)
        x = x + self.dropout(attended)
        x = x + self.dropout(self.cross_attention(self.cross_norm(x), *cross, mask))
        return x + self.feedforward(x), cache


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
        items = self.item_projection(vectors) * mask.unsqueeze(-1)
        user = self.user_projection(items.sum(1) / mask.sum(1, keepdim=True).clamp(min=1))
        x = torch.cat([self.empty_slot.expand(items.shape[0], 1, -1), items], dim=1)
        mask = torch.cat([torch.ones_like(x[:, :1, 0], dtype=torch.bool), mask], dim=1)
        bias = self.bias(x.shape[1]) if self.bias is not None else None
        x = self.dropout(x)
        for layer in self.encoder:
            x = layer(x, user, mask, bias)
        x = self.encoder_norm(x)
        state = F.normalize(self.state_head(torch.cat([x[:, 0], user], dim=-1)), dim=-1)
        cross = tuple(cast(DecoderLayer, layer).cross_attention.remember(x) for layer in self.decoder)
        return Memory(cross, mask, state)

    def step(self, level: int, tokens: Tensor | None, memory: Memory, cache: Cache | None) -> tuple[Tensor, Cache]:
        """Logits of one level.

        Args:
            level: which level is written.
            tokens: int64 [B, W], the tokens written at the level before; None at level 0, where W = 1.
            memory: from `encode`.
            cache: from the step before; None at level 0.

        Returns:
            [B, W, vocabulary of the level] and the cache for the next step.
        """
        first = tokens is None
        x = self.start.expand(memory.mask.shape[0], 1, -1) if first else self.embeddings[level - 1](tokens)
        x = self.dropout(x + self.level_embedding[level])
        grown = []
        for number, layer in enumerate(self.decoder):
            x, layer_cache = layer(x, memory.cross[number], memory.mask, None if cache is None else cache[number])
            grown.append(layer_cache)
        return self.heads[level](self.decoder_norm(x)), tuple(grown)

    def item_keys(self, vectors: Tensor) -> Tensor:
        """Item side of the dense term: unit vectors [..., F] of item vectors [..., F]."""
        return F.normalize(vectors + self.item_head(vectors), dim=-1)

    def dense_logits(self, state: Tensor, keys: Tensor) -> Tensor:
        """Scaled cosine of history states [B, F] and item keys [N, F]: [B, N]."""
        return state @ keys.T * self.dense_scale.exp()


def _feedforward(config: GeneratorConfig) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(config.dim),
        nn.Linear(config.dim, config.feedforward_dim),
        nn.ReLU(),
        nn.Linear(config.feedforward_dim, config.dim),
        nn.Dropout(config.dropout),
    )
