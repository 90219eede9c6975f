"""Train the Graph RQ-VAE: collaborative loss on the graph, then the residual quantizer jointly or after it."""

from dataclasses import replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from model.collaborative import bpr_loss, prefix_states, set_states, softmax_loss
from model.graph_encoder import InteractionGraph, ItemVectors, TransitionGraph
from model.graph_rqvae import GraphRQVAE, GraphRQVAEConfig
from model.history_state import HistoryState, unit
from model.modality_fusion import Standardised
from offline import progress
from offline.collaborative_batches import CollaborativeBatches, SequenceBatch, SetBatch
from offline.dataset import Dataset
from offline.dense_search import dense_quality
from offline.graph_data import build_graph
from offline.recipes import Recipe

REVIVAL_INTERVAL = 20
"""Optimiser steps between two looks for dead codes."""

MAX_GRADIENT_NORM = 5.0
QUANTIZER_LEARNING_RATE = 1e-3
ALIGNMENT_LEARNING_RATE = 1e-3
NUM_ALIGNMENT_STEPS = 300
NUM_NEIGHBOURS = 10
"""Items whose contexts stand in for that of an item without interactions."""

CONTENT_CHOICES: tuple[Literal["fused", "aligned"], ...] = ("fused", "aligned")

Graph = InteractionGraph | TransitionGraph


class TrainedGraph(NamedTuple):
    """What the training leaves.

    Attributes:
        model: the Graph RQ-VAE.
        features: as it takes them.
        vectors: its item vectors, [N, D] each.
        history_state: that goes with them.
        quantized: unit vectors [N, D], the Rec-IDs' source: the keys, but for ablations.
    """

    model: GraphRQVAE
    features: Standardised
    vectors: ItemVectors
    history_state: HistoryState
    quantized: Tensor


def train_graph_rqvae(dataset: Dataset, features: dict[str, Tensor], recipe: Recipe) -> TrainedGraph:
    """Train on the training interactions.

    With `content="choose"` the graph encoder is trained with content fused and aligned, and validation decides. (Fused
    content learns faster, so that shorter trainings would always choose it.)

    Args:
        dataset: validated dataset.
        features: modality to float32 [num_items, columns], NaN rows where missing.
        recipe: sizes and steps.

    Raises:
        FloatingPointError: the loss became NaN or infinite, or the keys too long to have a direction.
    """
    contents: tuple[Literal["choose", "fused", "aligned"], ...] = (recipe.graph.content,)
    if recipe.graph.content == "choose":
        contents = CONTENT_CHOICES if features and len(dataset.valid.users) else CONTENT_CHOICES[:1]
    recipes = [replace(recipe, graph=replace(recipe.graph, content=content)) for content in contents]
    trained = _best_of([_train_graph(dataset, features, each) for each in recipes], dataset)
    trained = trained._replace(quantized=_what_is_quantized(trained, recipe))
    _train_quantizer(trained.model, trained.quantized, recipe)
    trained.model.eval()
    return trained


def _what_is_quantized(trained: TrainedGraph, recipe: Recipe) -> Tensor:
    source = recipe.rec_ids.source
    if source == "graph":
        return trained.vectors.keys
    if source == "content":
        with torch.no_grad():
            return trained.model.content_keys(trained.features)
    return F.normalize(torch.randn(trained.vectors.keys.shape, generator=torch.Generator().manual_seed(recipe.seed)))


def _best_of(trained: list[TrainedGraph], dataset: Dataset) -> TrainedGraph:
    if len(trained) == 1:
        return trained[0]
    qualities = [dense_quality(each.history_state, each.vectors, dataset) for each in trained]
    each = zip(trained, qualities, strict=True)
    found = ", ".join(f"{one.model.config.content} {quality:.4f}" for one, quality in each)
    progress.say(f"validation recall@20 + ndcg@20 by use of the content: {found}")
    return trained[qualities.index(max(qualities))]


def _train_graph(dataset: Dataset, features: dict[str, Tensor], recipe: Recipe) -> TrainedGraph:
    settings = recipe.graph
    torch.manual_seed(recipe.seed)
    model = _new_model(dataset, features, recipe)
    standardised = model.fit(features, torch.from_numpy(dataset.train_counts()))
    graph = build_graph(dataset)
    batches = CollaborativeBatches(
        dataset.histories("valid"),
        num_items=dataset.num_items,
        ordered=dataset.has_time,
        batch_users=settings.batch_users,
        max_history=recipe.generator.max_history,
        max_candidates=settings.max_candidates,
        seed=recipe.seed,
    )
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.num_steps, settings.learning_rate / 20)
    model.train()
    stream = iter(batches)
    with progress.task(f"graph encoder, content {settings.content}", settings.num_steps) as task:
        for step in range(settings.num_steps):
            vectors = model.vectors(standardised, graph)
            # A batch for each member: on the same batches they would come out more alike, and their mean no better.
            drawn = zip(model.members(vectors), stream, strict=False)
            losses = [collaborative_loss(model, member, batch) for member, batch in drawn]
            if not losses:  # nobody has a second interaction: content and start are all there is
                break
            loss = torch.stack(losses).mean()
            if settings.quantization == "joint" and step >= settings.num_steps // 2:
                loss = loss + settings.quantization_weight * _joint_loss(model, vectors.keys, step, recipe.seed)
            optimise(optimiser, loss, "graph encoder")
            schedule.step()
            task.advance(f"loss {loss.item():.4f}")
    return _finish(model, dataset, standardised, graph)


def _new_model(dataset: Dataset, features: dict[str, Tensor], recipe: Recipe) -> GraphRQVAE:
    settings = recipe.graph
    return GraphRQVAE(
        GraphRQVAEConfig(
            num_items=dataset.num_items,
            feature_dims={name: values.shape[1] for name, values in features.items()},
            num_levels=recipe.rec_ids.num_levels,
            codebook_size=recipe.rec_ids.codebook_size,
            ordered_history=dataset.has_time,
            max_history=recipe.generator.max_history,
            dim=settings.dim,
            num_members=settings.num_members,
            num_graph_layers=settings.num_layers,
            latent_dim=settings.latent_dim,
            # Aligned content never meets an embedding, so there is nothing to get used to, and dropout costs quality.
            embedding_dropout=0.0 if settings.content == "aligned" else settings.embedding_dropout,
            history_dropout=settings.history_dropout,
            content="aligned" if settings.content == "aligned" else "fused",
            collaborative_loss=settings.collaborative_loss,
            temperature=settings.temperature,
        )
    )


def collaborative_loss(model: GraphRQVAE, vectors: ItemVectors, batch: SetBatch | SequenceBatch) -> Tensor:
    """The loss of a batch for one member of the graph encoder, of the kind that the model's configuration names."""
    config, candidates = model.config, batch.candidates
    if isinstance(batch, SetBatch):
        states = set_states(vectors.contexts, batch.items, batch.starts)
    else:
        dropout = config.history_dropout if model.training else 0.0
        states = prefix_states(vectors.contexts, batch.items, model.log_recency, dropout)
        states = states.flatten(0, 1).index_select(0, batch.prefixes)
    # A sample may be as long as the catalogue, too.
    num_items = len(vectors.keys)
    whole = len(candidates.rows) == num_items and torch.equal(candidates.rows, torch.arange(num_items))
    keys = vectors.keys if whole else vectors.keys.index_select(0, candidates.rows)
    if config.collaborative_loss == "softmax":
        return softmax_loss(states, keys, candidates.correction, batch.targets, config.temperature)
    negatives = torch.randint(len(keys), batch.targets.candidates.shape)
    return bpr_loss(states, keys, batch.targets, negatives, config.temperature)


def _align_content(model: GraphRQVAE, features: Standardised, keys: Tensor) -> Tensor:
    """Keys in which the content stands in for items without interactions, after it has learned to."""
    optimiser = torch.optim.AdamW(model.key_content.parameters(), ALIGNMENT_LEARNING_RATE, weight_decay=0.1)
    with progress.task("content to keys", NUM_ALIGNMENT_STEPS) as task:
        for _ in range(NUM_ALIGNMENT_STEPS):
            loss = model.alignment(features, keys)
            optimise(optimiser, loss, "content")
            task.advance(f"loss {loss.item():.4f}")
    with torch.no_grad():
        return torch.where(model.has_interactions > 0, keys, model.content_keys(features))


def _finish(model: GraphRQVAE, dataset: Dataset, features: Standardised, graph: Graph) -> TrainedGraph:
    """Vectors and history state of a trained graph encoder."""
    model.eval()
    with torch.no_grad():
        keys, contexts = model.vectors(features, graph)
    if not (keys.norm(dim=1) > 0).any():  # a cosine hides from the loss what explodes
        raise FloatingPointError("the keys of the graph encoder are too long; lower its learning rate in the recipe")
    if model.config.content == "aligned" and features:
        keys = _align_content(model, features, keys)
    contexts = borrow_contexts(keys, contexts, model.has_interactions.flatten() > 0)
    history_state = HistoryState(keys.shape[1], model.config.max_history, model.config.num_members)
    # An empty history is taken for the average one, in which every item is as frequent as it is.
    counts = torch.from_numpy(dataset.train_counts()).float()
    history_state.fit(model.log_recency.detach().exp(), unit(counts @ contexts, model.config.num_members))
    return TrainedGraph(model, features, ItemVectors(keys, contexts), history_state, keys)


def borrow_contexts(keys: Tensor, contexts: Tensor, known: Tensor) -> Tensor:
    """Contexts [N, D] in which items that nobody has had yet take the mean of their nearest neighbours'.

    Args:
        keys: unit vectors [N, D].
        contexts: [N, D]; random where an item has no interactions.
        known: bool [N], whether an item has interactions.
    """
    if known.all() or not known.any():
        return contexts
    contexts = contexts.clone()
    known_keys, known_contexts = keys[known], contexts[known]
    for rows in torch.nonzero(~known).flatten().split(1024):
        nearest = (keys[rows] @ known_keys.T).topk(min(NUM_NEIGHBOURS, len(known_keys)), dim=1).indices
        contexts[rows] = known_contexts[nearest].mean(dim=1)
    return contexts


def _joint_loss(model: GraphRQVAE, keys: Tensor, step: int, seed: int) -> Tensor:
    maintain_codebooks(model, keys.detach(), step, seed)
    return model.quantization_loss(model.quantize(keys))


def _train_quantizer(model: GraphRQVAE, keys: Tensor, recipe: Recipe) -> None:
    """The RQ-VAE part on frozen keys: all of the training when two-stage, the last polish when joint."""
    num_steps = recipe.graph.num_quantizer_steps
    parts = (model.encoder, model.quantizer, model.decoder)
    optimiser = torch.optim.Adam([weight for part in parts for weight in part.parameters()], QUANTIZER_LEARNING_RATE)
    with progress.task("residual quantizer", num_steps) as task:
        for step in range(num_steps):
            maintain_codebooks(model, keys, step, recipe.seed)
            loss = model.quantization_loss(model.quantize(keys))
            optimise(optimiser, loss, "residual quantizer")
            task.advance(f"loss {loss.item():.4f}")


def maintain_codebooks(model: GraphRQVAE, keys: Tensor, step: int, seed: int) -> None:
    """K-means start at the first call, revival of dead codes every few steps."""
    random = torch.Generator().manual_seed(seed * 1_000_003 + step)
    with torch.no_grad():
        if not model.quantizer.initialised:
            model.quantizer.initialise(model.latent(keys), random)
        elif step % REVIVAL_INTERVAL == 0:
            model.quantizer.revive(model.latent(keys), random)


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
