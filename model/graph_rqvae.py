"""Graph RQ-VAE: fusion, graph network, residual quantiser and decoder, with their losses (MMGRec, arXiv 2404.16555).

Letters: U = users, N = items, D = model width, Z = latent width, L = semantic levels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.graph_encoder import GraphEncoder, InteractionGraph, ItemVectors, TransitionGraph
from model.history_state import unit
from model.modality_fusion import ModalityFusion, Standardised
from model.residual_quantizer import Quantized, QuantizerConfig, ResidualQuantizer


@dataclass(frozen=True, kw_only=True)
class GraphRQVAEConfig:
    """Sizes and losses of the Graph RQ-VAE.

    Attributes:
        feature_dims: modality to number of columns.
        ordered_history: whether the graph is one of transitions, and recency counts.
        max_history: slots with a weight for recency of their own.
        content: "fused" = items start from content plus a free embedding; "aligned" = from the embedding alone; the
            content learns to predict their keys, and stands in for them where an item has no interactions.
        num_members: independent graph encoders that `dim` is parted among (model.graph_encoder).
        embedding_dropout: probability that an item goes without its free embeddings in a training pass.
        history_dropout: probability that an item is left out of a prefix in training, in ordered histories.
        collaborative_loss: "softmax" (cosine, model.collaborative) or "bpr" as in the paper.
        temperature: of the cosine softmax.
        commitment_weight: β of the commitment loss.

    Raises:
        ValueError: `dim` that the members do not divide.
    """

    num_items: int
    feature_dims: dict[str, int]
    num_levels: int
    codebook_size: int
    ordered_history: bool
    max_history: int
    dim: int = 64
    num_members: int = 1
    num_graph_layers: int = 2
    latent_dim: int = 32
    embedding_dropout: float = 0.1
    history_dropout: float = 0.1
    content: Literal["fused", "aligned"] = "fused"
    collaborative_loss: Literal["softmax", "bpr"] = "softmax"
    temperature: float = 0.2
    commitment_weight: float = 0.25

    def __post_init__(self) -> None:
        if self.dim % self.num_members:
            raise ValueError(f"dim={self.dim} is not divisible by num_members={self.num_members}")


class QuantizationLosses(NamedTuple):
    """Losses of the RQ-VAE part (scalars) and the codes int64 [N, L]."""

    reconstruction: Tensor
    codebook: Tensor
    commitment: Tensor
    codes: Tensor


class GraphRQVAE(nn.Module):
    """Learns item vectors from content and graph, and quantises their keys.

    `has_interactions` [N, 1] is a buffer: 1 for items with training interactions, the ones whose free embeddings mean
    something.
    """

    has_interactions: Tensor

    def __init__(self, config: GraphRQVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.key_content = ModalityFusion(config.feature_dims, config.dim)
        # In a set the contexts are better off without content (docs/experiments.md).
        self.context_content = ModalityFusion(config.feature_dims if config.ordered_history else {}, config.dim)
        self.graph = GraphEncoder(
            config.num_items, config.dim, config.num_graph_layers, config.embedding_dropout, config.num_members
        )
        self.log_recency = nn.Parameter(_fading(config.max_history), requires_grad=config.ordered_history)
        self.encoder = _perceptron(config.dim, config.latent_dim)
        self.quantizer = ResidualQuantizer(
            QuantizerConfig(num_levels=config.num_levels, codebook_size=config.codebook_size, dim=config.latent_dim)
        )
        self.decoder = _perceptron(config.latent_dim, config.dim)
        self.register_buffer("has_interactions", torch.ones(config.num_items, 1))
        if not config.ordered_history:
            nn.init.zeros_(self.log_recency)

    def fit(self, features: Mapping[str, Tensor], counts: Tensor) -> Standardised:
        """Measure the features' scales; note which items have interactions, of their counts [N].

        Returns:
            The features as the other methods take them.
        """
        self.key_content.fit(features)
        if self.config.ordered_history:
            self.context_content.fit(features)
        self.has_interactions.copy_((counts > 0).unsqueeze(1))
        return self.key_content.standardise(features)

    def vectors(self, features: Standardised, graph: InteractionGraph | TransitionGraph) -> ItemVectors:
        """Unit keys, and contexts of a mean length of 1."""
        if self.config.content == "fused":
            num_items = self.config.num_items
            start = ItemVectors(self.key_content(features, num_items), self.context_content(features, num_items))
        else:
            start = ItemVectors(torch.zeros(()), torch.zeros(()))
        # Where there is content to start from, an embedding that nobody has trained must not speak.
        has_content = self.config.content == "fused" and bool(self.config.feature_dims)
        speaks = self.has_interactions if has_content else torch.ones_like(self.has_interactions)
        keys, contexts = self.graph(start, graph, speaks)
        length = contexts.norm(dim=-1).mean().clamp(min=1e-12)
        return ItemVectors(unit(keys, self.config.num_members), contexts / length)

    def members(self, vectors: ItemVectors) -> list[ItemVectors]:
        """Unit keys and contexts of each member by itself, [N, D / members]."""
        parts = [part.chunk(self.config.num_members, dim=1) for part in vectors]
        scale = self.config.num_members**0.5
        return [ItemVectors(keys * scale, contexts) for keys, contexts in zip(*parts, strict=True)]

    def content_keys(self, features: Standardised) -> Tensor:
        """Unit keys [N, D] of the content alone."""
        return unit(self.key_content(features, self.config.num_items), self.config.num_members)

    def alignment(self, features: Standardised, keys: Tensor) -> Tensor:
        """How far the content's keys are from unit keys [N, D], over the items that have interactions: a scalar."""
        distance = 1 - (self.content_keys(features) * keys).sum(-1, keepdim=True)
        return (distance * self.has_interactions).sum() / self.has_interactions.sum().clamp(min=1)

    def latent(self, keys: Tensor) -> Tensor:
        """What is quantised: [N, Z] of unit keys [N, D], brought to unit variance first."""
        return self.encoder(keys * self.config.dim**0.5)

    def quantize(self, keys: Tensor) -> QuantizationLosses:
        """Encode, quantise and reconstruct unit keys [N, D]."""
        quantized: Quantized = self.quantizer(self.latent(keys))
        target = keys.detach() * self.config.dim**0.5
        reconstruction = F.mse_loss(self.decoder(quantized.embedding), target)
        return QuantizationLosses(reconstruction, quantized.codebook_loss, quantized.commitment_loss, quantized.codes)

    def quantization_loss(self, losses: QuantizationLosses) -> Tensor:
        """Reconstruction + codebook + β · commitment."""
        return losses.reconstruction + losses.codebook + self.config.commitment_weight * losses.commitment


def _fading(num_slots: int) -> Tensor:
    """Where the logarithms of the weights of recency start: half an e-fold per step, flat after twenty."""
    return -0.5 * torch.arange(num_slots).clamp(max=20)


def _perceptron(dim_in: int, dim_out: int) -> nn.Sequential:
    hidden = max(dim_in, dim_out)
    return nn.Sequential(nn.Linear(dim_in, hidden), nn.ReLU(), nn.Linear(hidden, dim_out))
