"""Train the members of the graph encoder on the collaborative loss, then join what they say."""

from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from model.graph_encoder import GraphEncoder, ItemVectors, Propagates
from model.graph_rqvae import GraphRQVAE, GraphRQVAEConfig
from model.history_state import HistoryState
from model.modality_fusion import Standardised
from model.sampled_graph import GraphInColumns
from offline import progress
from offline.collaborative_batches import CollaborativeBatches
from offline.dataset import Dataset
from offline.devices import CPU, moved
from offline.graph_data import build_graph
from offline.graph_losses import GraphEncoderLoss, GraphStep
from offline.neighbour_contexts import Neighbourhood
from offline.optimise import Learner, optimise
from offline.processes import current, require_enough
from offline.recipe_settings import GraphSettings, Recipe
from offline.warm_graph import GraphStart

RECENCY_SPEED = 10
"""The weights of recency start flat, and at the learning rate of the embeddings they would not get far."""

ALIGNMENT_LEARNING_RATE = 1e-3

MOST_NEIGHBOURS = 2**17
"""Items that can be anybody's neighbours: of more an even sample, or the search would grow with the square of them."""

COLUMNS_AT_A_TIME = 16
"""Of the vectors that go through a graph too large to be trained as a whole."""


class TrainedGraph(NamedTuple):
    """What the training of the graph encoder leaves.

    Attributes:
        model: the Graph RQ-VAE; its quantizer is not trained yet, unless jointly.
        vectors: its item vectors, [N, D] each.
        history_state: that goes with them.
    """

    model: GraphRQVAE
    vectors: ItemVectors
    history_state: HistoryState


def train_graph_encoder(
    dataset: Dataset,
    features: dict[str, Tensor],
    recipe: Recipe,
    temperature: float,
    start: GraphStart | None = None,
) -> TrainedGraph:
    """Train on the training interactions, from a start that the recipe's seed decides, or from a previous run's.

    Args:
        dataset: validated dataset.
        features: modality to float32 [num_items, columns], NaN rows where missing.
        recipe: sizes and steps.
        temperature: of the cosine softmax.
        start: what is taken over of a previous run.

    Raises:
        FloatingPointError: the loss became NaN or infinite, or the keys too long to have a direction.
    """
    settings = recipe.graph
    require_enough("graph encoder", settings.batch_users)
    torch.manual_seed(recipe.seed)
    model = GraphRQVAE(graph_config(dataset, features, recipe, temperature))
    standardised = model.fit(features, torch.from_numpy(dataset.train_counts()))
    if start is not None and start.take_over(model):
        standardised = model.scaler(features)  # by the old scale
    model, standardised, graph = moved((model, standardised, build_graph(dataset)), current().device)
    batches = CollaborativeBatches(
        dataset.histories("valid"),
        num_items=dataset.num_items,
        ordered=dataset.has_time,
        batch_users=settings.batch_users,
        max_history=recipe.generator.max_history,
        max_candidates=settings.max_candidates,
        seed=recipe.seed,
        with_negatives=settings.collaborative_loss == "bpr",
    )
    optimiser = torch.optim.Adam(_groups(model, settings.learning_rate), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.num_steps, settings.learning_rate / 20)
    learner = Learner(GraphEncoderLoss(model, standardised, graph, recipe), optimiser, "graph encoder")
    model.train()
    stream = iter(batches)
    with progress.task(f"graph encoder, temperature {temperature:g}", settings.num_steps) as task:
        for step in range(settings.num_steps):
            # A batch for each member: on the same batches they would come out more alike, and their mean no better.
            drawn = list(islice(stream, len(model.members)))
            if not drawn:  # nobody has a second interaction: content and start are all there is
                break
            jointly = settings.quantization == "joint" and step >= settings.num_steps // 2
            loss = learner.step([GraphStep(step, drawn, part, jointly) for part in current().parts])
            schedule.step()
            task.advance(loss=loss / len(drawn))
    whole = GraphInColumns(graph, COLUMNS_AT_A_TIME) if settings.fan_out else graph
    return _finish(model, dataset, standardised, whole, settings, start)


def graph_config(dataset: Dataset, features: dict[str, Tensor], recipe: Recipe, temperature: float) -> GraphRQVAEConfig:
    """The sizes of a dataset's Graph RQ-VAE."""
    settings = recipe.graph
    return GraphRQVAEConfig(
        num_items=dataset.num_items,
        feature_dims={name: values.shape[1] for name, values in features.items()},
        num_levels=recipe.rec_ids.num_levels,
        codebook_size=recipe.rec_ids.codebook_size,
        ordered_history=dataset.has_time,
        max_history=recipe.generator.max_history,
        dim=settings.dim,
        # Without content there is nothing to start from but the embeddings.
        members=settings.members if features else tuple("aligned" for _ in settings.members),
        member_dim=settings.member_dim,
        num_graph_layers=settings.num_layers,
        latent_dim=settings.latent_dim,
        embedding_dropout=settings.embedding_dropout,
        history_dropout=settings.history_dropout,
        collaborative_loss=settings.collaborative_loss,
        temperature=temperature,
    )


def _groups(model: GraphRQVAE, learning_rate: float) -> list[dict[str, Any]]:
    """The weights of each member apart, so that none is clipped for another's gradient; recency; all others."""
    members = [list(member.parameters()) for member in model.members]
    apart = {id(weight) for weights in members for weight in weights} | {id(model.log_recency)}
    others = [weight for weight in model.parameters() if id(weight) not in apart]
    groups = [{"params": weights} for weights in (*members, others)]
    return [*groups, {"params": [model.log_recency], "lr": learning_rate * RECENCY_SPEED}]


def _finish(
    model: GraphRQVAE,
    dataset: Dataset,
    features: Standardised,
    graph: Propagates,
    settings: GraphSettings,
    start: GraphStart | None,
) -> TrainedGraph:
    """Vectors and history state of trained members, joined."""
    model.eval()
    with torch.no_grad():
        each = list(model.member_vectors(features, graph))
    if not all((vectors.keys.norm(dim=1) > 0).any() for vectors in each):  # a cosine hides what explodes from the loss
        raise FloatingPointError("the keys of the graph encoder are too long; lower its learning rate in the recipe")
    _align_content(model, features, each, settings.num_alignment_steps)
    with torch.no_grad():
        each = list(model.member_vectors(features, graph))  # again, for content stands in now
        model, each = moved((model, each), CPU)
        if start is None or start.weights is None:
            model.fit_projection(torch.cat([vectors.keys for vectors in each], dim=1))
        if start is not None:
            start.align(model, each)
        keys, contexts = model.join(each)
    near = moved((keys, contexts, model.has_interactions.flatten() > 0), current().device)  # N² similarities
    contexts = smoothed_contexts(*near, settings.context_smoothing).to(CPU)
    history_state = HistoryState(keys.shape[1], model.config.max_history)
    # An empty history is taken for the average one, in which every item is as frequent as it is.
    counts = torch.from_numpy(dataset.train_counts()).to(contexts.dtype)
    empty = torch.nn.functional.normalize(counts @ contexts, dim=0)
    history_state.fit(model.log_recency.detach().exp(), empty)
    return TrainedGraph(model, ItemVectors(keys, contexts), history_state)


def _align_content(model: GraphRQVAE, features: Standardised, each: Sequence[ItemVectors], num_steps: int) -> None:
    """Let the content of aligned members learn to stand in for items without interactions."""
    for member, vectors in zip(model.encoders(), each, strict=True):
        if member.content == "aligned" and features:
            _align(member, features, vectors.keys, model.has_interactions, num_steps)


def _align(
    member: GraphEncoder, features: Standardised, keys: Tensor, has_interactions: Tensor, num_steps: int
) -> None:
    optimiser = torch.optim.AdamW(member.key_content.parameters(), ALIGNMENT_LEARNING_RATE, weight_decay=0.1)
    with progress.task("content to keys", num_steps) as task:
        for _ in range(num_steps):
            loss = member.alignment(features, keys, has_interactions)
            optimise(optimiser, loss, "content")
            task.advance(loss=loss.item())


def smoothed_contexts(keys: Tensor, contexts: Tensor, known: Tensor, share: float) -> Tensor:
    """Contexts [N, D] that take a share from their nearest neighbours' mean; all of it where nobody had the item.

    Args:
        keys: unit vectors [N, D].
        contexts: [N, D]; random where an item has no interactions.
        known: bool [N], whether an item has interactions; others are nobody's neighbours, and of more than
            `MOST_NEIGHBOURS` only every so many-th can be one.
        share: of the neighbours, for items that have interactions.
    """
    shares = torch.where(known, share, 1.0)
    rows = torch.nonzero(shares > 0).flatten()
    if not len(rows) or not known.any():
        return contexts
    near = torch.nonzero(known).flatten()
    near = near[:: -(-len(near) // MOST_NEIGHBOURS)]
    place = torch.full_like(shares, -1, dtype=torch.int64)
    place[near] = torch.arange(len(near), device=near.device)
    nearest = Neighbourhood(keys[near], contexts[near]).contexts_near(keys[rows], place[rows])
    smoothed = contexts.clone()
    smoothed[rows] = contexts[rows].lerp(nearest, shares[rows].unsqueeze(1))
    return smoothed
