"""What the graph encoder learns from: the loss of a step, in parts, over the whole graph or over a sample of it."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.collaborative import bpr_loss, prefix_states, set_states, softmax_loss
from model.graph_encoder import InteractionGraph, ItemVectors, Propagates, TransitionGraph
from model.graph_rqvae import GraphRQVAE
from model.modality_fusion import Standardised
from model.sampled_graph import SampledGraph
from offline.collaborative_batches import CollaborativeBatch, Part, SetBatch, among_its_items, part_of
from offline.devices import moved
from offline.processes import current
from offline.recipe_settings import Recipe
from offline.train_quantizer import joint_loss

Graph = InteractionGraph | TransitionGraph


class GraphStep(NamedTuple):
    """A part of a step.

    Attributes:
        step: its number.
        batches: one for each member.
        part: of the batches, see `offline.processes`.
        jointly: whether the quantizer learns as well.
    """

    step: int
    batches: list[CollaborativeBatch]
    part: int
    jointly: bool


class GraphEncoderLoss(nn.Module):
    """The loss of a part of a step; those of all parts add up to the loss of the step."""

    def __init__(self, model: GraphRQVAE, features: Standardised, graph: Graph, recipe: Recipe) -> None:
        super().__init__()
        self.model = model
        self._features = features
        self._graph = graph
        self._recipe = recipe

    def forward(self, drawn: GraphStep) -> Tensor:
        """A scalar."""
        processes = current()
        parts = [part_of(batch, drawn.part, processes.num_parts) for batch in drawn.batches]
        parts = moved(parts, processes.device)  # batches are drawn and cut on the CPU
        graphs: list[Propagates] = [self._graph] * len(parts)
        if self._recipe.graph.fan_out:
            sampled = [self._sampled(drawn.step, *each) for each in enumerate(parts)]
            parts, graphs = [part for part, _ in sampled], [graph for _, graph in sampled]
        members = zip(self.model.encoders(), graphs, strict=False)  # there may be fewer batches than members
        vectors = [member(self._features, graph, self.model.has_interactions) for member, graph in members]
        losses = [
            part.weight * collaborative_loss(self.model, each, part.batch)
            for each, part in zip(vectors, parts, strict=True)
        ]
        loss = torch.stack(losses).sum()
        if drawn.jointly:
            keys = self.model.joined([each.keys for each in vectors])
            quantization = joint_loss(self.model, keys, drawn.step, self._recipe.seed, drawn.part)
            loss = loss + self._recipe.graph.quantization_weight * quantization
        return loss

    def _sampled(self, step: int, member: int, part: Part) -> tuple[Part, SampledGraph]:
        """The part among its own items, and a sample of the graph around these."""
        batch, rows = among_its_items(part.batch)
        seed = (self._recipe.seed * 1_000_003 + step) * len(self.model.members) + member
        return Part(batch, part.weight), SampledGraph(self._graph, rows, self._recipe.graph.fan_out, seed)


def collaborative_loss(model: GraphRQVAE, vectors: ItemVectors, batch: CollaborativeBatch) -> Tensor:
    """The loss of a batch for one member of the graph encoder: BPR where the batch has negatives, else the softmax."""
    config, candidates = model.config, batch.candidates
    if isinstance(batch, SetBatch):
        states = set_states(vectors.contexts, batch.items, batch.starts)
    else:
        dropout = config.history_dropout if model.training else 0.0
        states = prefix_states(vectors.contexts, batch.items, model.log_recency, dropout)
        states = states.flatten(0, 1).index_select(0, batch.prefixes)
    # A sample may be as long as the catalogue, too.
    every = torch.arange(len(vectors.keys), device=vectors.keys.device)
    whole = torch.equal(candidates.rows, every)
    keys = vectors.keys if whole else vectors.keys.index_select(0, candidates.rows)
    if batch.negatives is None:
        return softmax_loss(states, keys, candidates.correction, batch.targets, config.temperature)
    return bpr_loss(states, keys, batch.targets, batch.negatives, config.temperature)
