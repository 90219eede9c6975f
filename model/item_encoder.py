"""The frozen encoder of items that nobody has had yet: content to key, key to codes.

Content alone does not say where in the graph encoder's space an item belongs; the items that are like it do. So the
encoder remembers the content and the keys of known items, the *landmarks*, and gives a new item the mean key of those
whose content is nearest. That is worth twice what the content projections of the graph encoder's members say
(docs/experiments.md), needs neither the graph nor the free embeddings, and stays the same however often the catalogue
changes. A release carries it, and `add-items` runs it.

Letters: N = items, K = landmarks, C = columns of a content vector, D = columns of a key, H = history slots, Z = latent
width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.graph_rqvae import GraphRQVAE, perceptron
from model.modality_fusion import FeatureScaler
from model.residual_quantizer import QuantizerConfig, ResidualQuantizer

NUM_NEIGHBOURS: Final = 10
MOST_LANDMARKS: Final = 2**16
MOST_CONTENT_COLUMNS: Final = 256
FEWEST_INTERACTIONS: Final = 2  # of a landmark: the key of an item that one user had says more of that user
_BLOCK_ITEMS: Final = 1024


@dataclass(frozen=True, kw_only=True)
class ItemEncoderConfig:
    """Sizes of the item encoder.

    Attributes:
        feature_dims: modality to number of columns; empty when the items were learned from interactions alone.
        content_dim: C.
        num_landmarks: K.
        dim: D.
        max_history: H, slots with a weight for recency of their own.
    """

    feature_dims: dict[str, int]
    content_dim: int
    num_landmarks: int
    dim: int
    latent_dim: int
    num_levels: int
    codebook_size: int
    max_history: int


class ItemEncoder(nn.Module):
    """Content to unit keys, keys to latent vectors, latent vectors to codes.

    Attributes:
        content_projection: buffer [columns of all modalities, C] with orthonormal columns.
        landmark_content: buffer [K, C], half precision.
        landmark_keys: buffer [K, D], half precision.
        mean_key: buffer [D], of the landmarks.
        deviation: buffer [], mean distance of their keys from it.
        recency: buffer [H], the weights of a history's items, newest first.
    """

    content_projection: Tensor
    landmark_content: Tensor
    landmark_keys: Tensor
    mean_key: Tensor
    deviation: Tensor
    recency: Tensor

    def __init__(self, config: ItemEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.scaler = FeatureScaler(config.feature_dims)
        self.encoder = perceptron(config.dim, config.latent_dim)
        self.quantizer = ResidualQuantizer(
            QuantizerConfig(num_levels=config.num_levels, codebook_size=config.codebook_size, dim=config.latent_dim)
        )
        columns = sum(config.feature_dims.values())
        self.register_buffer("content_projection", torch.zeros(columns, config.content_dim))
        self.register_buffer("landmark_content", torch.zeros(config.num_landmarks, config.content_dim).half())
        self.register_buffer("landmark_keys", torch.zeros(config.num_landmarks, config.dim).half())
        self.register_buffer("mean_key", torch.zeros(config.dim))
        self.register_buffer("deviation", torch.tensor(1.0))
        self.register_buffer("recency", torch.ones(config.max_history))

    @staticmethod
    @torch.no_grad()
    def of(model: GraphRQVAE, features: Mapping[str, Tensor], keys: Tensor, counts: Tensor) -> "ItemEncoder":
        """The item encoder of a trained Graph RQ-VAE; it shares no memory with it.

        Args:
            model: trained.
            features: modality to raw [N, columns], NaN rows where missing.
            keys: the model's unit keys [N, D].
            counts: training interactions [N].
        """
        rows = _landmark_rows(features, counts)
        dims = model.config.feature_dims if len(rows) else {}
        encoder = ItemEncoder(
            ItemEncoderConfig(
                feature_dims=dims,
                content_dim=min(sum(dims.values()), MOST_CONTENT_COLUMNS),
                num_landmarks=len(rows),
                dim=model.config.dim,
                latent_dim=model.config.latent_dim,
                num_levels=model.config.num_levels,
                codebook_size=model.config.codebook_size,
                max_history=model.config.max_history,
            )
        )
        encoder.encoder.load_state_dict(model.encoder.state_dict())
        encoder.quantizer.load_state_dict(model.quantizer.state_dict())
        encoder.recency.copy_(model.log_recency.detach().exp())
        if len(rows):
            encoder.scaler.load_state_dict(model.scaler.state_dict())
            encoder.remember({name: values[rows] for name, values in features.items()}, keys[rows])
        return encoder.eval()

    @torch.no_grad()
    def remember(self, features: Mapping[str, Tensor], keys: Tensor) -> None:
        """Take the landmarks: raw features, modality to [K, columns], and unit keys [K, D]."""
        content = self._joined(features)
        directions = torch.linalg.eigh(content.T.double() @ content.double()).eigenvectors  # the weakest come first
        self.content_projection.copy_(directions.flip(1)[:, : self.config.content_dim])
        self.landmark_content.copy_(F.normalize(content @ self.content_projection, dim=-1))
        self.landmark_keys.copy_(keys)
        self.mean_key.copy_(keys.mean(0))
        self.deviation.copy_((keys - self.mean_key).norm(dim=1).mean())

    @torch.no_grad()
    def content_keys(self, features: Mapping[str, Tensor]) -> Tensor:
        """Unit keys [N, D] of raw features, modality to [N, columns]; zeros where an item has no modality at all.

        The mean of neighbours lies nearer to the mean of all than any of them, and such a key is nobody's first choice.
        So it is put as far from there as keys are on the average.
        """
        content = self._joined(features)
        found = [content.new_empty(0, self.config.dim)]
        for some in content.split(_BLOCK_ITEMS):
            similarity = (some @ self.content_projection) @ self.landmark_content.float().T
            nearest = similarity.topk(min(NUM_NEIGHBOURS, self.config.num_landmarks), dim=1).indices
            towards = self.landmark_keys.float()[nearest].mean(dim=1) - self.mean_key
            keys = F.normalize(self.mean_key + F.normalize(towards, dim=-1) * self.deviation, dim=-1)
            found.append(keys * (some.norm(dim=-1, keepdim=True) > 0))
        return torch.cat(found)

    def latent(self, keys: Tensor) -> Tensor:
        """What is quantised: [N, Z] of unit keys [N, D]."""
        latent: Tensor = self.encoder(keys * self.config.dim**0.5)
        return latent

    def _joined(self, features: Mapping[str, Tensor]) -> Tensor:
        """Unit vectors [N, columns of all modalities] in which every modality that an item has speaks as loud."""
        standardised = self.scaler(features)
        parts = [F.normalize(standardised[name][0], dim=-1) for name in self.scaler.modalities]
        return F.normalize(torch.cat(parts, dim=1), dim=-1) if parts else torch.zeros(0, 0)


def _landmark_rows(features: Mapping[str, Tensor], counts: Tensor) -> Tensor:
    """Items with content that were had often enough, those that were had most, in the order of their rows."""
    has_content = torch.zeros(len(counts), dtype=torch.bool)
    for values in features.values():
        has_content |= ~values.isnan().any(dim=1)
    often = has_content & (counts >= FEWEST_INTERACTIONS)
    chosen = often if int(often.sum()) >= NUM_NEIGHBOURS else has_content & (counts > 0)
    rows = torch.nonzero(chosen).flatten()
    most = counts[rows].argsort(descending=True, stable=True)[:MOST_LANDMARKS]
    return rows[most.sort().values]
