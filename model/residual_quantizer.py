"""Residual quantisation: level by level, the code nearest to what the levels before left over.

RQ-VAE as in MMGRec (arXiv 2404.16555) and TIGER (arXiv 2305.05065), with a k-means start and revival of dead codes.
Letters: N = vectors, L = semantic levels, V = codebook size, Z = latent width.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class QuantizerConfig:
    """Sizes of the residual quantizer.

    Raises:
        ValueError: a size below 1.
    """

    num_levels: int
    codebook_size: int
    dim: int

    def __post_init__(self) -> None:
        if min(self.num_levels, self.codebook_size, self.dim) < 1:
            raise ValueError(f"every size of the quantizer must be at least 1: {self}")


class Quantized(NamedTuple):
    """Codes int64 [N, L], their sum [N, Z] with a straight-through gradient, and the two losses (scalars)."""

    codes: Tensor
    embedding: Tensor
    codebook_loss: Tensor
    commitment_loss: Tensor


class ResidualQuantizer(nn.Module):
    """L codebooks of V codes. `initialised` is a buffer, so a reload never starts k-means over trained codes."""

    initialised: Tensor

    def __init__(self, config: QuantizerConfig) -> None:
        super().__init__()
        self.config = config
        shape = (config.num_levels, config.codebook_size, config.dim)
        self.codebooks = nn.Parameter(torch.randn(shape) * 0.02)
        self.register_buffer("initialised", torch.tensor(False))

    def forward(self, latent: Tensor) -> Quantized:
        """Quantise latent vectors [N, Z]."""
        residual, total = latent, torch.zeros_like(latent)
        codes = []
        codebook_loss = commitment_loss = latent.new_zeros(())
        for level in range(self.config.num_levels):
            chosen = self.distances(residual, level).argmin(dim=1)
            embedding = self.codebooks[level][chosen]
            codebook_loss = codebook_loss + F.mse_loss(embedding, residual.detach())
            commitment_loss = commitment_loss + F.mse_loss(residual, embedding.detach())
            # Detached: a level's codes learn from their own residual only, not from the levels below.
            residual = residual - embedding.detach()
            total = total + embedding
            codes.append(chosen)
        through = latent + (total - latent).detach()
        return Quantized(torch.stack(codes, dim=1), through, codebook_loss, commitment_loss)

    def distances(self, residual: Tensor, level: int) -> Tensor:
        """Squared distances [N, V] of residuals [N, Z] to the codes of a level."""
        return torch.cdist(residual, self.codebooks[level]).square()

    @torch.no_grad()
    def initialise(self, latent: Tensor, generator: torch.Generator) -> None:
        """K-means start: fit every codebook to the residuals that reach it.

        Args:
            latent: [N, Z]; with fewer than V vectors the surplus codes start near vectors, with noise.
            generator: source of randomness.
        """
        residual = latent
        for level in range(self.config.num_levels):
            centres = _k_means(residual, self.config.codebook_size, generator)
            self.codebooks[level] = centres
            residual = residual - centres[self.distances(residual, level).argmin(dim=1)]
        self.initialised.fill_(True)

    @torch.no_grad()
    def revive(self, latent: Tensor, generator: torch.Generator, taken: Tensor | None = None) -> int:
        """Move codes that no vector chose onto random residuals of their level; returns how many.

        Args:
            latent: [N, Z].
            generator: source of randomness.
            taken: bool [L, V], codes that stay whether a vector chose them or not.
        """
        residual, revived = latent, 0
        for level in range(self.config.num_levels):
            chosen = self.distances(residual, level).argmin(dim=1)
            dead = torch.bincount(chosen, minlength=self.config.codebook_size) == 0
            if taken is not None:
                dead &= ~taken[level]
            if dead.any():
                self.codebooks[level, dead] = _sample(residual, int(dead.sum()), generator)
                revived += int(dead.sum())
            residual = residual - self.codebooks[level][chosen]
        return revived


def _sample(vectors: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Rows drawn at random, distinct as far as there are enough, with a little noise so that copies can part.

    The generator is one of the CPU, whatever the vectors are on.
    """
    rounds = [torch.randperm(len(vectors), generator=generator) for _ in range(-(-count // len(vectors)))]
    rows = vectors[torch.cat(rounds)[:count]]
    scale = 0.01 * vectors.std(unbiased=False)
    return rows + scale * torch.randn(rows.shape, generator=generator).to(rows.device)


def _k_means(vectors: Tensor, num_centres: int, generator: torch.Generator, num_rounds: int = 25) -> Tensor:
    """Lloyd's algorithm from random rows; an empty cluster restarts at the vector farthest from its centre."""
    centres = _sample(vectors, num_centres, generator)
    for _ in range(num_rounds):
        distances, chosen = torch.cdist(vectors, centres).min(dim=1)
        counts = torch.bincount(chosen, minlength=num_centres)
        sums = torch.zeros_like(centres).index_add_(0, chosen, vectors)
        centres = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp(min=1), centres)
        empty = torch.nonzero(counts == 0).flatten()[: len(vectors)]
        centres[empty] = vectors[distances.argsort(descending=True)[: len(empty)]]
    return centres
