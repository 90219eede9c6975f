"""The Rec-ID generator: a Transformer encoder-decoder over item vectors (MMGRec, arXiv 2404.16555).

What is unusual, and why:
- An item vector is its key and its context (model.graph_encoder), side by side.
- The history is a set: no absolute positions; with `ordered_history` a pairwise recency/distance bias instead.
- The user's vector is the *history state* (model.history_state; in an ordered history moved by model.sequence_encoder),
  computed from the history, so unknown users and fresh histories need no retraining. It conditions the attention,
  starts slot 0 of the encoder, and meets a vector of every token in the logits.
- Slot 0 of the encoder is never empty: an empty history attends to it.
- Every level has its own vocabulary, embedding and head.

Letters: B = batch, H = history slots, S = H + 1, W = prefixes (beams, or targets in training), D = model width,
F = columns of an item vector, V = vocabulary of a level.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.attention import (
    CrossAttention,
    PlainSelfAttention,
    Positions,
    PrefixSelfAttention,
    RelationAwareSelfAttention,
    RelationBias,
    floor_of,
)
from model.history_state import HistoryState
from model.sequence_encoder import SequenceEncoder

Attention = Literal["relation", "absolute", "plain"]


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """Sizes of the generator.

    Attributes:
        vector_dim: F.
        attention: what the encoder's attention knows beyond the items: "relation" = the user (and recency and distance
            in ordered histories), "absolute" = learned positions, "plain" = nothing. The last two are for ablations.
        num_sequence_layers: of the sequence encoder; 0 = the history state is a weighted sum and nothing else.

    Raises:
        ValueError: a size below 1, `dim` that the heads do not divide, an odd `vector_dim`, or a sequence encoder for
            sets.
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
    attention: Attention = "relation"
    num_sequence_layers: int = 0

    def __post_init__(self) -> None:
        if self.vector_dim % 2:
            raise ValueError(
                f"vector_dim={self.vector_dim} is odd; an item vector is a key and a context of equal length"
            )
        if self.attention not in get_args(Attention):
            raise ValueError(f"attention={self.attention!r} is none of {get_args(Attention)}")
        if self.dim % self.num_heads:
            raise ValueError(f"dim={self.dim} is not divisible by num_heads={self.num_heads}")
        if self.num_sequence_layers < 0 or (self.num_sequence_layers and not self.ordered_history):
            raise ValueError(
                f"num_sequence_layers={self.num_sequence_layers} with ordered_history={self.ordered_history}: it must "
                "be 0 (no sequence encoder) or more, and 0 where a history is a set"
            )
        if min(*self.vocabulary_sizes, self.vector_dim, self.max_history, self.num_encoder_layers) < 1:
            raise ValueError(f"every size of the generator must be at least 1: {self}")


class Memory(NamedTuple):
    """What the encoder hands to every decoding step.

    Attributes:
        cross: keys [B, A, E, S] and values [B, A, S, E] of every decoder layer.
        bias: [B, 1, 1, S], added to attention scores: 0, or a floor at an empty slot.
        state: [B, F / 2], unit norm: the history state, moved by the sequence encoder where there is one.
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
        kind = RelationAwareSelfAttention if config.attention == "relation" else PlainSelfAttention
        self.attention = kind(config.dim, config.num_heads)
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
        key_dim = config.vector_dim // 2
        self.history_state = HistoryState(key_dim, config.max_history)
        self.item_projection = nn.Linear(config.vector_dim, config.dim)
        self.empty_slot = nn.Parameter(torch.randn(config.dim) * 0.02)
        self.state_slot = nn.Linear(key_dim, config.dim)
        self.user_projection = nn.Sequential(nn.Linear(key_dim, config.dim), nn.ReLU(), nn.LayerNorm(config.dim))
        ordered = config.ordered_history and config.attention == "relation"
        self.bias = RelationBias(config.num_heads, config.max_history + 1) if ordered else None
        absolute = config.attention == "absolute"
        self.positions = nn.Parameter(torch.randn(config.max_history + 1, config.dim) * 0.02) if absolute else None
        self.encoder = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_encoder_layers))
        self.encoder_norm = nn.LayerNorm(config.dim)
        self.start = nn.Parameter(torch.randn(config.dim) * 0.02)
        # The last level's token is written but never read, so it needs no embedding.
        self.embeddings = nn.ModuleList(nn.Embedding(size, config.dim) for size in config.vocabulary_sizes[:-1])
        self.level_embedding = nn.Parameter(torch.randn(len(config.vocabulary_sizes), config.dim) * 0.02)
        self.decoder = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_decoder_layers))
        self.decoder_norm = nn.LayerNorm(config.dim)
        self.heads = nn.ModuleList(nn.Linear(config.dim, size) for size in config.vocabulary_sizes)
        self.token_keys = nn.ParameterList(torch.zeros(size, key_dim) for size in config.vocabulary_sizes)
        self.dropout = nn.Dropout(config.dropout)
        # Last, and by random numbers of its own: whoever leaves it out has the same start of all else.
        with torch.random.fork_rng(devices=[]):
            self.sequence_encoder = sequence_encoder(config) if config.num_sequence_layers else None

    @property
    def num_levels(self) -> int:
        """Tokens of a Rec-ID."""
        return len(self.heads)

    def state(self, vectors: Tensor, filled: Tensor) -> Tensor:
        """Unit vectors [B, F / 2] that users are known by.

        Args:
            vectors: [B, H, F], item vectors, newest first.
            filled: [B, H], 1 = item, 0 = empty slot.
        """
        state: Tensor = self.history_state(vectors.chunk(2, dim=-1)[1], filled)
        return state if self.sequence_encoder is None else self.sequence_encoder(state, vectors, filled)

    def encode(self, vectors: Tensor, mask: Tensor) -> Memory:
        """Encode histories.

        Args:
            vectors: [B, H, F], item vectors, newest first (any order for a set); what stands in empty slots is ignored.
            mask: bool [B, H], False = empty slot.
        """
        filled = mask.to(vectors.dtype)
        state = self.state(vectors, filled)
        items = self.item_projection(vectors) * filled.unsqueeze(-1)
        user = self.user_projection(state)
        x = torch.cat([(self.empty_slot + self.state_slot(state)).unsqueeze(1), items], dim=1)
        slots = x.shape[1]
        if self.positions is not None:
            x = x + self.positions[:slots]
        # The slot in front is never empty.
        bias = F.pad((1 - filled) * floor_of(filled.dtype), (1, 0)).unsqueeze(1).unsqueeze(1)
        relation = bias if self.bias is None else bias + self.bias(slots)
        rows = self.dropout(x.view(-1, x.shape[-1]))
        for layer in self.encoder:
            rows = layer(rows, user, relation)
        rows = self.encoder_norm(rows)
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
        logits = logits.view(-1, width, logits.shape[-1])
        return logits + (memory.state @ self.token_keys[level].T).unsqueeze(1), tuple(grown)

    @torch.no_grad()
    def start_token_keys(self, rec_ids: Tensor, keys: Tensor, scale: float) -> None:
        """Let every token's key begin as what it says of an item: the mean of what the levels above left unsaid.

        Args:
            rec_ids: int64 [N, levels].
            keys: [N, F / 2], the items'.
            scale: factor, the inverse temperature of the cosine that the logits shall begin as.
        """
        rest = keys
        for level, token_keys in enumerate(self.token_keys):
            tokens = rec_ids[:, level]
            counts = torch.bincount(tokens, minlength=len(token_keys)).clamp(min=1)
            means = torch.zeros_like(token_keys).index_add_(0, tokens, rest) / counts[:, None]
            token_keys.copy_(means * scale)
            rest = rest - means[tokens]

    @staticmethod
    def item_keys(vectors: Tensor) -> Tensor:
        """Item side of the dense term: unit vectors [..., F / 2] of item vectors [..., F]."""
        return F.normalize(vectors.chunk(2, dim=-1)[0], dim=-1)


def sequence_encoder(config: GeneratorConfig) -> SequenceEncoder:
    """An untrained sequence encoder of the generator's sizes."""
    return SequenceEncoder(
        vector_dim=config.vector_dim,
        max_history=config.max_history,
        dim=config.dim,
        num_heads=config.num_heads,
        num_layers=config.num_sequence_layers,
        dropout=config.dropout,
    )


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
