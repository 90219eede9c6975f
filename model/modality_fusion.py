"""Fusion of an item's modalities into one content vector, whichever of them an item has.

Letters: N = items, D = model width, F_m = columns of modality m.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

CLIP = 5.0
"""Standardised features are cut at this many standard deviations: a few outliers must not own the codebooks."""


Standardised = dict[str, tuple[Tensor, Tensor]]
"""Modality to standardised features [N, F_m], 0 where missing, and bool [N, 1], whether the item has the modality."""


class FeatureScaler(nn.Module):
    """Means and deviations of raw features: buffers, saved with the weights, so that a later item meets the same scale.

    Args:
        feature_dims: modality to number of columns; may be empty.
    """

    def __init__(self, feature_dims: Mapping[str, int]) -> None:
        super().__init__()
        self.modalities = tuple(sorted(feature_dims))
        for name in self.modalities:
            self.register_buffer(f"mean_{name}", torch.zeros(feature_dims[name]))
            self.register_buffer(f"deviation_{name}", torch.ones(feature_dims[name]))

    @torch.no_grad()
    def fit(self, features: Mapping[str, Tensor]) -> None:
        """Measure mean and deviation of every column over the items that have the modality; constants stay zero."""
        for name in self.modalities:
            present = features[name][~features[name].isnan().any(dim=1)].double()
            deviation = present.std(dim=0, unbiased=False)
            constant = deviation <= 1e-6 * (1 + present.mean(dim=0).abs())
            self.get_buffer(f"mean_{name}").copy_(present.mean(dim=0))
            self.get_buffer(f"deviation_{name}").copy_(torch.where(constant, torch.inf, deviation))

    def forward(self, features: Mapping[str, Tensor]) -> Standardised:
        """What `ModalityFusion` takes, of raw features: modality to [N, F_m], with NaN rows where missing."""
        found = {}
        for name in self.modalities:
            present = ~features[name].isnan().any(dim=1, keepdim=True)
            standardised = (features[name] - self.get_buffer(f"mean_{name}")) / self.get_buffer(f"deviation_{name}")
            # By column count, so that a modality of 2048 columns speaks no louder than one of 128.
            scaled = standardised.nan_to_num(0.0).clamp(-CLIP, CLIP) / standardised.shape[1] ** 0.5
            found[name] = (scaled, present)
        return found


class ModalityFusion(nn.Module):
    """Project each modality, then sum: `[f_v || f_a || f_t] W` of MMGRec (arXiv 2404.16555).

    The concatenation and one matrix of the paper are the sum of one projection per modality. A missing modality (a NaN
    row) gives a learned vector of that modality instead.

    Args:
        feature_dims: modality to number of columns; may be empty, then `forward` gives zeros.
        dim: D.
    """

    nothing: Tensor

    def __init__(self, feature_dims: Mapping[str, int], dim: int) -> None:
        super().__init__()
        self.modalities = tuple(sorted(feature_dims))
        self.projections = nn.ModuleDict({_key(name): nn.Linear(feature_dims[name], dim) for name in self.modalities})
        self.register_buffer("nothing", torch.zeros(dim), persistent=False)  # of no modality; knows the device
        self.missing = nn.ParameterDict({_key(name): nn.Parameter(torch.randn(dim) * 0.02) for name in self.modalities})

    def forward(self, standardised: Standardised, num_items: int) -> Tensor:
        """Content vectors [num_items, D] of standardised features."""
        total = self.nothing.expand(num_items, -1)
        for name in self.modalities:
            scaled, present = standardised[name]
            total = total + torch.where(present, self.projections[_key(name)](scaled), self.missing[_key(name)])
        return total


def _key(modality: str) -> str:
    """A modality may be called "type" or "keys", which a `ModuleDict` refuses as names of its own methods."""
    return f"modality_{modality}"
