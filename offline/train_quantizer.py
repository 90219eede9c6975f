"""Train the residual quantizer and what is around it: beside the graph encoder ("joint"), or on its finished keys."""

import torch
from torch import Tensor, nn

from model.graph_rqvae import GraphRQVAE
from offline import progress
from offline.devices import CPU, moved
from offline.optimise import Learner
from offline.processes import current, require_enough, share

REVIVAL_INTERVAL = 20
"""Optimiser steps between two looks for dead codes."""

QUANTIZER_LEARNING_RATE = 1e-3


def train_quantizer(model: GraphRQVAE, keys: Tensor, num_steps: int, seed: int, taken: Tensor | None = None) -> None:
    """The RQ-VAE part on frozen keys [N, D]: all of the training when two-stage, the last polish when joint.

    Codes that are `taken` (bool [L, V]) are never revived: items of a previous run have them.
    """
    require_enough("residual quantizer", len(keys))
    model, keys, taken = moved((model, keys, taken), current().device)
    parts = (model.encoder, model.quantizer, model.decoder)
    optimiser = torch.optim.Adam([weight for part in parts for weight in part.parameters()], QUANTIZER_LEARNING_RATE)
    learner = Learner(QuantizerLoss(model, keys), optimiser, "residual quantizer")
    with progress.task("residual quantizer", num_steps) as task:
        for step in range(num_steps):
            maintain_codebooks(model, keys, step, seed, taken)
            task.advance(loss=learner.step(current().parts))
    model.to(CPU)


class QuantizerLoss(nn.Module):
    """The RQ-VAE losses on a part of frozen keys [N, D]; those of all parts add up to the mean over the keys."""

    def __init__(self, model: GraphRQVAE, keys: Tensor) -> None:
        super().__init__()
        self.model = model
        self._keys = keys

    def forward(self, part: int) -> Tensor:
        """A scalar."""
        return part_of_loss(self.model, self._keys, part)


def part_of_loss(model: GraphRQVAE, keys: Tensor, part: int) -> Tensor:
    """The RQ-VAE losses on a part of the keys [N, D], weighted with its share of them: a scalar."""
    some = keys[share(len(keys), part, current().num_parts)]
    return model.quantization_loss(model.quantize(some)) * (len(some) / len(keys))


def joint_loss(model: GraphRQVAE, keys: Tensor, step: int, seed: int, part: int) -> Tensor:
    """The RQ-VAE losses on a part of keys [N, D] that are still being learned: a scalar."""
    if part == current().parts.start:
        maintain_codebooks(model, keys.detach(), step, seed)
    return part_of_loss(model, keys, part)


def maintain_codebooks(model: GraphRQVAE, keys: Tensor, step: int, seed: int, taken: Tensor | None = None) -> None:
    """K-means start at the first call, revival of dead codes that are not `taken` every few steps.

    By the first process; the others take over what it comes to.
    """
    if model.quantizer.initialised and step % REVIVAL_INTERVAL:
        return
    if current().is_first:
        random = torch.Generator().manual_seed(seed * 1_000_003 + step)
        with torch.no_grad():
            if not model.quantizer.initialised:
                model.quantizer.initialise(model.latent(keys), random)
            else:
                model.quantizer.revive(model.latent(keys), random, taken)
    current().take_over([model.quantizer.codebooks, model.quantizer.initialised])
