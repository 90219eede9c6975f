"""The two stages of the Graph RQ-VAE: its graph encoder at the temperature that validation chooses, then the codes."""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from model.graph_rqvae import GraphRQVAE
from offline import progress
from offline.dataset import Dataset
from offline.dense_search import dense_quality
from offline.metrics import described, preferred
from offline.previous_run import PreviousRun
from offline.processes import current
from offline.recipe_settings import Recipe
from offline.train_graph_encoder import TrainedGraph, graph_config, train_graph_encoder
from offline.train_quantizer import train_quantizer
from offline.warm_codes import CodesStart
from offline.warm_graph import graph_start


def train_graph(
    dataset: Dataset, features: dict[str, Tensor], recipe: Recipe, previous: PreviousRun | None = None
) -> TrainedGraph:
    """Train the graph encoder at the recipe's first temperature, unless another is clearly better on validation.

    One that starts from a previous run has that run's temperature.

    Raises:
        BadInputError: a file of the previous run is damaged.
        FloatingPointError: the loss became NaN or infinite, or the keys too long to have a direction.
    """
    start = None
    if previous is not None:
        config = graph_config(dataset, features, recipe, recipe.graph.temperatures[0])
        start = graph_start(previous, dataset, recipe, config)
    if start is not None:
        recipe = start.shortened(recipe)
    temperatures = recipe.graph.temperatures
    if len(temperatures) == 1 or not len(dataset.valid.users):
        return train_graph_encoder(dataset, features, recipe, temperatures[0], start)
    # Each is tried on one member, which knows as well as all of them together.
    graph = replace(recipe.graph, members=recipe.graph.members[:1], dim=recipe.graph.member_dim)
    alone = replace(recipe, graph=graph)
    tried = {temperature: train_graph_encoder(dataset, features, alone, temperature) for temperature in temperatures}
    qualities = {
        temperature: dense_quality(trained.history_state, trained.vectors, dataset)
        for temperature, trained in tried.items()
    }
    best = current().agree(preferred(qualities))
    progress.say(f"temperature, by validation recall@20 + ndcg@20: {described(qualities)}; taken {best:g}")
    if alone == recipe and start is None:
        return tried[best]
    return train_graph_encoder(dataset, features, recipe, best, start)


def train_rq_vae(
    model: GraphRQVAE,
    keys: Tensor,
    features: Callable[[], dict[str, Tensor]],
    recipe: Recipe,
    start: CodesStart | None = None,
) -> tuple[GraphRQVAE, Tensor]:
    """Train the residual quantizer behind a trained graph encoder.

    Args:
        model: as `train_graph` left it.
        keys: its unit keys [N, D].
        features: gives modality to float32 [N, columns], NaN rows where missing; called where content is quantised.
        recipe: sizes and steps.
        start: codebooks of a previous run.

    Returns:
        The whole Graph RQ-VAE, and the unit vectors [N, D] that are quantised: the keys, but for ablations.
    """
    torch.manual_seed(recipe.seed)
    if recipe.graph.quantization == "two_stage":
        model = model.with_codebooks(recipe.rec_ids.num_levels, recipe.rec_ids.codebook_size)
    quantized = _what_is_quantized(model, keys, features, recipe)
    if start is not None:
        start.take_over(model)
        recipe = start.shortened(recipe)
    taken = None if start is None else start.in_use
    train_quantizer(model, quantized, recipe.graph.num_quantizer_steps, recipe.seed, taken)
    return model.eval(), quantized


def _what_is_quantized(
    model: GraphRQVAE, keys: Tensor, features: Callable[[], dict[str, Tensor]], recipe: Recipe
) -> Tensor:
    source = recipe.rec_ids.source
    if source == "graph":
        return keys
    if source == "content":
        with torch.no_grad():
            return model.content_keys(model.scaler(features()))
    return F.normalize(torch.randn(keys.shape, generator=torch.Generator().manual_seed(recipe.seed)))
