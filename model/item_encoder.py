"""The frozen part of a Graph RQ-VAE that encodes items which nobody has had yet: content to key, key to codes.

An item without interactions is its content alone (model.graph_encoder), so nothing of this needs the graph or the free
embeddings, which at a million items are a gigabyte. A release carries it, and `add-items` runs it.

Letters: N = items, D = columns of a key, H = history slots, Z = latent width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.graph_rqvae import GraphRQVAE, perceptron
from model.modality_fusion import FeatureScaler, ModalityFusion
from model.residual_quantizer import QuantizerConfig, ResidualQuantizer


@dataclass(frozen=True, kw_only=True)
class ItemEncoderConfig:
    """Sizes of the item encoder; those of the Graph RQ-VAE that it was taken from.

    Attributes:
        feature_dims: modality to number of columns; empty when the items were learned from interactions alone.
        num_members: graph encoders whose content projections are joined.
        member_dim: width of each.
        dim: D.
        max_history: slots with a weight for recency of their own.
    """

    feature_dims: dict[str, int]
    num_members: int
    member_dim: int
    dim: int
    latent_dim: int
    num_levels: int
    codebook_size: int
    max_history: int


class ItemEncoder(nn.Module):
    """Content to unit keys, keys to latent vectors, latent vectors to codes.

    Attributes:
        projection: buffer [columns of all members, D], as in the Graph RQ-VAE.
        recency: buffer [H], the weights of a history's items, newest first.
    """

    projection: Tensor
    recency: Tensor

    def __init__(self, config: ItemEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.scaler = FeatureScaler(config.feature_dims)
        self.contents = nn.ModuleList(
            ModalityFusion(config.feature_dims, config.member_dim) for _ in range(config.num_members)
        )
        self.encoder = perceptron(config.dim, config.latent_dim)
        self.quantizer = ResidualQuantizer(
            QuantizerConfig(num_levels=config.num_levels, codebook_size=config.codebook_size, dim=config.latent_dim)
        )
        self.register_buffer("projection", torch.eye(config.num_members * config.member_dim)[:, : config.dim].clone())
        self.register_buffer("recency", torch.ones(config.max_history))

    @staticmethod
    def of(model: GraphRQVAE) -> "ItemEncoder":
        """The item encoder of a trained Graph RQ-VAE; it shares no memory with it."""
        config = model.config
        encoder = ItemEncoder(
            ItemEncoderConfig(
                feature_dims=config.feature_dims,
                num_members=len(config.members),
                member_dim=config.member_dim,
                dim=config.dim,
                latent_dim=config.latent_dim,
                num_levels=config.num_levels,
                codebook_size=config.codebook_size,
                max_history=config.max_history,
            )
        )
        encoder.scaler.load_state_dict(model.scaler.state_dict())
        for content, member in zip(encoder.contents, model.encoders(), strict=True):
            content.load_state_dict(member.key_content.state_dict())
        encoder.encoder.load_state_dict(model.encoder.state_dict())
        encoder.quantizer.load_state_dict(model.quantizer.state_dict())
        encoder.projection.copy_(model.projection)
        encoder.recency.copy_(model.log_recency.detach().exp())
        return encoder.eval()

    def content_keys(self, features: Mapping[str, Tensor]) -> Tensor:
        """Unit keys [N, D] of raw features, modality to [N, columns], NaN rows where missing.

        What the Graph RQ-VAE gives to an item of this content without interactions. Zeros without modalities.
        """
        standardised = self.scaler(features)
        num_items = len(next(iter(features.values()))) if features else 0
        members = [F.normalize(cast(ModalityFusion, one)(standardised, num_items), dim=-1) for one in self.contents]
        return F.normalize(torch.cat(members, dim=1) @ self.projection, dim=-1)

    def latent(self, keys: Tensor) -> Tensor:
        """What is quantised: [N, Z] of unit keys [N, D]."""
        latent: Tensor = self.encoder(keys * self.config.dim**0.5)
        return latent
