"""Graph RQ-VAE: fusion, graph network, residual quantiser and decoder, with their losses (MMGRec, arXiv 2404.16555).

Letters: U = users, N = items, D = model width, Z = latent width, L = semantic levels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.graph_encoder import GraphEncoder, InteractionGraph
from model.modality_fusion import ModalityFusion
from model.residual_quantizer import Quantized, QuantizerConfig, ResidualQuantizer


@dataclass(frozen=True, kw_only=True)
class GraphRQVAEConfig:
    """Sizes and losses of the Graph RQ-VAE.

    Attributes:
        feature_dims: modality to number of columns.
        collaborative_loss: "softmax" (cosine, over all items) or "bpr" as in the paper.
        temperature: of the cosine softmax.
        commitment_weight: β of the commitment loss.
    """

    num_users: int
    num_items: int
    feature_dims: dict[str, int]
    num_levels: int
    codebook_size: int
    dim: int = 64
    num_graph_layers: int = 2
    latent_dim: int = 32
    embedding_dropout: float = 0.1
    collaborative_loss: Literal["softmax", "bpr"] = "softmax"
    temperature: float = 0.2
    commitment_weight: float = 0.25


class QuantizationLosses(NamedTuple):
    """Losses of the RQ-VAE part (scalars) and the codes int64 [N, L]."""

    reconstruction: Tensor
    codebook: Tensor
    commitment: Tensor
    codes: Tensor


class GraphRQVAE(nn.Module):
    """Learns item vectors from content and graph, and quantises them."""

    def __init__(self, config: GraphRQVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.fusion = ModalityFusion(config.feature_dims, config.dim)
        self.graph = GraphEncoder(
            config.num_users, config.num_items, config.dim, config.num_graph_layers, config.embedding_dropout
        )
        self.encoder = _perceptron(config.dim, config.latent_dim)
        self.quantizer = ResidualQuantizer(
            QuantizerConfig(num_levels=config.num_levels, codebook_size=config.codebook_size, dim=config.latent_dim)
        )
        self.decoder = _perceptron(config.latent_dim, config.dim)

    def vectors(self, features: Mapping[str, Tensor], graph: InteractionGraph) -> tuple[Tensor, Tensor]:
        """Unit user vectors [U, D] and item vectors [N, D]."""
        users, items = self.graph(self.fusion(features, self.config.num_items), graph)
        return F.normalize(users, dim=-1), F.normalize(items, dim=-1)

    def latent(self, items: Tensor) -> Tensor:
        """What is quantised: [N, Z] of unit item vectors [N, D], brought to unit variance first."""
        return self.encoder(items * self.config.dim**0.5)

    def quantize(self, items: Tensor) -> QuantizationLosses:
        """Encode, quantise and reconstruct unit item vectors [N, D]."""
        quantized: Quantized = self.quantizer(self.latent(items))
        target = items.detach() * self.config.dim**0.5
        reconstruction = F.mse_loss(self.decoder(quantized.embedding), target)
        return QuantizationLosses(reconstruction, quantized.codebook_loss, quantized.commitment_loss, quantized.codes)

    def collaborative(self, users: Tensor, items: Tensor, positives: Tensor) -> Tensor:
        """Loss of a batch of users [B, D] against all items [N, D], `positives` float [B, N] with 1 = interacted.

        The softmax form is the multinomial likelihood of a user's items under cosine similarity; BPR compares each
        positive with one item drawn uniformly (paper), which may be another positive with small probability.
        """
        if self.config.collaborative_loss == "softmax":
            log_probs = (users @ items.T / self.config.temperature).log_softmax(dim=-1)
            return -(log_probs * positives).sum() / positives.sum()
        rows, columns = positives.nonzero(as_tuple=True)
        negatives = torch.randint(items.shape[0], (len(rows),))
        scores = users @ items.T / self.config.temperature
        return F.softplus(scores[rows, negatives] - scores[rows, columns]).mean()

    def quantization_loss(self, losses: QuantizationLosses) -> Tensor:
        """Reconstruction + codebook + β · commitment."""
        return losses.reconstruction + losses.codebook + self.config.commitment_weight * losses.commitment


def _perceptron(dim_in: int, dim_out: int) -> nn.Sequential:
    hidden = max(dim_in, dim_out)
    return nn.Sequential(nn.Linear(dim_in, hidden), nn.ReLU(), nn.Linear(hidden, dim_out))
