"""Graph RQ-VAE: fusion, graph network, residual quantiser and decoder, with their losses (MMGRec, arXiv 2404.16555).

Letters: U = users, N = items, D = model width, Z = latent width, L = semantic levels.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.graph_encoder import Content, GraphEncoder, ItemVectors, Propagates
from model.modality_fusion import FeatureScaler, Standardised
from model.residual_quantizer import Quantized, QuantizerConfig, ResidualQuantizer


@dataclass(frozen=True, kw_only=True)
class GraphRQVAEConfig:
    """Sizes and losses of the Graph RQ-VAE.

    Attributes:
        feature_dims: modality to number of columns.
        ordered_history: whether the graph is one of transitions, and recency counts.
        max_history: slots with a weight for recency of their own.
        dim: D, of an item's key and context.
        members: the graph encoders, by their use of the content (model.graph_encoder). They are independent of each
            other; what they say is averaged, which on sparse data is worth more than one encoder of the whole width.
        member_dim: width of each.
        embedding_dropout: probability that an item goes without its free embeddings in a training pass.
        history_dropout: probability that an item is left out of a prefix in training, in ordered histories.
        collaborative_loss: "softmax" (cosine, model.collaborative) or "bpr" as in the paper.
        temperature: of the cosine softmax.
        commitment_weight: β of the commitment loss.

    Raises:
        ValueError: no members, or members that together have fewer columns than `dim`.
    """

    num_items: int
    feature_dims: dict[str, int]
    num_levels: int
    codebook_size: int
    ordered_history: bool
    max_history: int
    dim: int = 64
    members: tuple[Content, ...] = ("fused",)
    member_dim: int = 64
    num_graph_layers: int = 2
    latent_dim: int = 32
    embedding_dropout: float = 0.1
    history_dropout: float = 0.1
    collaborative_loss: Literal["softmax", "bpr"] = "softmax"
    temperature: float = 0.2
    commitment_weight: float = 0.25

    def __post_init__(self) -> None:
        if self.width < self.dim:
            raise ValueError(
                f"{len(self.members)} members of {self.member_dim} columns cannot be joined to dim={self.dim}; "
                "take more of them, wider ones, or a smaller dim"
            )

    @property
    def width(self) -> int:
        """Columns of all members together."""
        return len(self.members) * self.member_dim


class QuantizationLosses(NamedTuple):
    """Losses of the RQ-VAE part (scalars) and the codes int64 [N, L]."""

    reconstruction: Tensor
    codebook: Tensor
    commitment: Tensor
    codes: Tensor


class GraphRQVAE(nn.Module):
    """Learns item vectors from content and graph, joins what its members say, and quantises the keys.

    Attributes:
        has_interactions: buffer [N, 1], 1 for items with training interactions, the ones whose free embeddings mean
            something.
        projection: buffer [columns of all members, D] with orthonormal columns.
    """

    has_interactions: Tensor
    projection: Tensor

    def __init__(self, config: GraphRQVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.scaler = FeatureScaler(config.feature_dims)
        self.members = nn.ModuleList(_member(config, content) for content in config.members)
        # Half of the weight after every so many items would be a guess: training finds it from a flat start.
        self.log_recency = nn.Parameter(torch.zeros(config.max_history), requires_grad=config.ordered_history)
        self.encoder = perceptron(config.dim, config.latent_dim)
        self.quantizer = ResidualQuantizer(
            QuantizerConfig(num_levels=config.num_levels, codebook_size=config.codebook_size, dim=config.latent_dim)
        )
        self.decoder = perceptron(config.latent_dim, config.dim)
        self.register_buffer("has_interactions", torch.ones(config.num_items, 1))
        self.register_buffer("projection", torch.eye(config.width)[:, : config.dim].contiguous())

    def fit(self, features: Mapping[str, Tensor], counts: Tensor) -> Standardised:
        """Measure the features' scales; note which items have interactions, of their counts [N].

        Returns:
            The features as the other methods take them.
        """
        self.scaler.fit(features)
        self.has_interactions.copy_((counts > 0).unsqueeze(1))
        standardised: Standardised = self.scaler(features)
        return standardised

    def encoders(self) -> list[GraphEncoder]:
        """The members, as what they are."""
        return [cast(GraphEncoder, member) for member in self.members]

    def member_vectors(self, features: Standardised, graph: Propagates) -> Iterator[ItemVectors]:
        """What each member says, one after the other: unit keys and contexts [N, member_dim]."""
        for member in self.encoders():
            yield member(features, graph, self.has_interactions)

    @torch.no_grad()
    def fit_projection(self, keys: Tensor) -> None:
        """Take the directions in which the joined keys [N, columns of all members] differ most, D of them.

        The scores that keys and states give lie almost entirely in there: two members of each kind, joined, lose
        nothing that could be measured by going from 256 columns to 128 (docs/experiments.md).
        """
        if self.config.width > self.config.dim:
            directions = torch.linalg.eigh(keys.T.double() @ keys.double()).eigenvectors  # the weakest come first
            self.projection.copy_(directions.flip(1)[:, : self.config.dim])

    @torch.no_grad()
    def turn_projection(self, rotation: Tensor) -> None:
        """Turn keys and contexts by an orthogonal matrix [D, D]: every cosine stays what it is."""
        self.projection.copy_(self.projection @ rotation)

    def vectors(self, features: Standardised, graph: Propagates) -> ItemVectors:
        """What all members say, joined: see `join`."""
        return self.join(list(self.member_vectors(features, graph)))

    def join(self, each: Sequence[ItemVectors]) -> ItemVectors:
        """Unit keys [N, D], and contexts [N, D] of a mean length of 1, of the members' [N, member_dim]."""
        contexts = torch.cat([vectors.contexts for vectors in each], dim=1) @ self.projection
        length = contexts.norm(dim=-1).mean().clamp(min=1e-12)
        return ItemVectors(self.joined([vectors.keys for vectors in each]), contexts / length)

    def content_keys(self, features: Standardised) -> Tensor:
        """Unit keys [N, D] of the content alone."""
        return self.joined([member.content_keys(features) for member in self.encoders()])

    def joined(self, keys: Sequence[Tensor]) -> Tensor:
        """Unit keys [N, D] of the members' [N, member_dim]."""
        return F.normalize(torch.cat(tuple(keys), dim=1) @ self.projection, dim=-1)

    def with_codebooks(self, num_levels: int, codebook_size: int) -> "GraphRQVAE":
        """The same graph encoder before an untrained quantizer of other sizes."""
        fresh = GraphRQVAE(replace(self.config, num_levels=num_levels, codebook_size=codebook_size))
        kept = ("members.", "scaler.", "log_recency", "has_interactions", "projection")
        weights = {name: value for name, value in self.state_dict().items() if name.startswith(kept)}
        fresh.load_state_dict(weights, strict=False)
        return fresh

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


def _member(config: GraphRQVAEConfig, content: Content) -> GraphEncoder:
    return GraphEncoder(
        num_items=config.num_items,
        dim=config.member_dim,
        num_layers=config.num_graph_layers,
        content=content,
        feature_dims=config.feature_dims,
        ordered_history=config.ordered_history,
        embedding_dropout=config.embedding_dropout,
    )


def perceptron(dim_in: int, dim_out: int) -> nn.Sequential:
    """One hidden layer, as wide as the wider side."""
    hidden = max(dim_in, dim_out)
    return nn.Sequential(nn.Linear(dim_in, hidden), nn.ReLU(), nn.Linear(hidden, dim_out))
