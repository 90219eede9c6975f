"""Train the Graph RQ-VAE: collaborative loss on the graph, then the residual quantizer jointly or after it."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from model.graph_encoder import InteractionGraph
from model.graph_rqvae import GraphRQVAE, GraphRQVAEConfig
from offline import progress
from offline.dataset import Dataset
from offline.graph_data import build_graph, positives_of
from offline.recipes import Recipe

REVIVAL_INTERVAL = 20
"""Optimiser steps between two looks for dead codes."""

MAX_GRADIENT_NORM = 5.0


class TrainedGraph(NamedTuple):
    """The model and its unit vectors of users [U, D] and items [N, D]."""

    model: GraphRQVAE
    users: Tensor
    items: Tensor


def train_graph_rqvae(dataset: Dataset, features: dict[str, Tensor], recipe: Recipe) -> TrainedGraph:
    """Train on the training interactions.

    Args:
        dataset: validated dataset.
        features: modality to float32 [num_items, columns], NaN rows where missing.
        recipe: sizes and steps.

    Raises:
        FloatingPointError: the loss became NaN or infinite.
    """
    settings = recipe.graph
    model = GraphRQVAE(
        GraphRQVAEConfig(
            num_users=dataset.num_users,
            num_items=dataset.num_items,
            feature_dims={name: values.shape[1] for name, values in features.items()},
            num_levels=recipe.rec_ids.num_levels,
            codebook_size=recipe.rec_ids.codebook_size,
            dim=settings.dim,
            num_graph_layers=settings.num_layers,
            latent_dim=settings.latent_dim,
            embedding_dropout=settings.embedding_dropout,
            collaborative_loss=settings.collaborative_loss,
            temperature=settings.temperature,
        )
    )
    model.fusion.fit(features)
    graph = build_graph(dataset)
    _train_graph(model, dataset, features, graph, recipe)
    model.eval()
    with torch.no_grad():
        users, items = model.vectors(features, graph)
    _train_quantizer(model, items, recipe)
    return TrainedGraph(model.eval(), users, items)


def _train_graph(
    model: GraphRQVAE, dataset: Dataset, features: dict[str, Tensor], graph: InteractionGraph, recipe: Recipe
) -> None:
    settings, random = recipe.graph, np.random.default_rng(recipe.seed)
    histories = dataset.histories("valid")
    active = np.unique(dataset.train.users)
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.num_steps, settings.learning_rate / 20)
    model.train()
    with progress.task("graph encoder", settings.num_steps) as task:
        for step in range(settings.num_steps):
            batch = random.choice(active, min(settings.batch_users, len(active)), replace=False)
            users, items = model.vectors(features, graph)
            loss = model.collaborative(users[batch], items, positives_of(histories, batch, dataset.num_items))
            if settings.quantization == "joint" and step >= settings.num_steps // 2:
                loss = loss + settings.quantization_weight * _joint_loss(model, items, step, recipe)
            optimise(optimiser, loss, "graph encoder")
            schedule.step()
            task.advance(f"loss {loss.item():.4f}")


def _joint_loss(model: GraphRQVAE, items: Tensor, step: int, recipe: Recipe) -> Tensor:
    maintain_codebooks(model, items.detach(), step, recipe.seed)
    return model.quantization_loss(model.quantize(items))


def _train_quantizer(model: GraphRQVAE, items: Tensor, recipe: Recipe) -> None:
    """The RQ-VAE part on frozen item vectors: all of the training when two-stage, the last polish when joint."""
    num_steps = recipe.graph.num_quantizer_steps
    parts = (model.encoder, model.quantizer, model.decoder)
    optimiser = torch.optim.Adam([weight for part in parts for weight in part.parameters()], lr=1e-3)
    with progress.task("residual quantizer", num_steps) as task:
        for step in range(num_steps):
            maintain_codebooks(model, items, step, recipe.seed)
            loss = model.quantization_loss(model.quantize(items))
            optimise(optimiser, loss, "residual quantizer")
            task.advance(f"loss {loss.item():.4f}")


def maintain_codebooks(model: GraphRQVAE, items: Tensor, step: int, seed: int) -> None:
    """K-means start at the first call, revival of dead codes every few steps."""
    random = torch.Generator().manual_seed(seed * 1_000_003 + step)
    with torch.no_grad():
        if not model.quantizer.initialised:
            model.quantizer.initialise(model.latent(items), random)
        elif step % REVIVAL_INTERVAL == 0:
            model.quantizer.revive(model.latent(items), random)


def optimise(optimiser: torch.optim.Optimizer, loss: Tensor, name: str) -> None:
    """One optimiser step.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    if not torch.isfinite(loss):
        raise FloatingPointError(f"the loss of the {name} became {loss.item()}; lower its learning rate in the recipe")
    optimiser.zero_grad()
    loss.backward()
    for group in optimiser.param_groups:
        torch.nn.utils.clip_grad_norm_(group["params"], MAX_GRADIENT_NORM)
    optimiser.step()
