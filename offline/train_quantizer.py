"""Train the residual quantizer and what is around it: beside the graph encoder ("joint"), or on its finished keys."""

import torch
from torch import Tensor

from model.graph_rqvae import GraphRQVAE
from offline import progress
from offline.optimise import optimise

REVIVAL_INTERVAL = 20
"""Optimiser steps between two looks for dead codes."""

QUANTIZER_LEARNING_RATE = 1e-3


def train_quantizer(model: GraphRQVAE, keys: Tensor, num_steps: int, seed: int, taken: Tensor | None = None) -> None:
    """The RQ-VAE part on frozen keys [N, D]: all of the training when two-stage, the last polish when joint.

    Codes that are `taken` (bool [L, V]) are never revived: items of a previous run have them.
    """
    parts = (model.encoder, model.quantizer, model.decoder)
    optimiser = torch.optim.Adam([weight for part in parts for weight in part.parameters()], QUANTIZER_LEARNING_RATE)
    with progress.task("residual quantizer", num_steps) as task:
        for step in range(num_steps):
            maintain_codebooks(model, keys, step, seed, taken)
            loss = model.quantization_loss(model.quantize(keys))
            optimise(optimiser, loss, "residual quantizer")
            task.advance(loss=loss.item())


def joint_loss(model: GraphRQVAE, keys: Tensor, step: int, seed: int) -> Tensor:
    """The RQ-VAE losses on keys [N, D] that are still being learned: a scalar."""
    maintain_codebooks(model, keys.detach(), step, seed)
    return model.quantization_loss(model.quantize(keys))


def maintain_codebooks(model: GraphRQVAE, keys: Tensor, step: int, seed: int, taken: Tensor | None = None) -> None:
    """K-means start at the first call, revival of dead codes that are not `taken` every few steps."""
    random = torch.Generator().manual_seed(seed * 1_000_003 + step)
    with torch.no_grad():
        if not model.quantizer.initialised:
            model.quantizer.initialise(model.latent(keys), random)
        elif step % REVIVAL_INTERVAL == 0:
            model.quantizer.revive(model.latent(keys), random, taken)
