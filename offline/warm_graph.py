"""The graph encoder of a previous run as the start of the next, and keys that stay in its coordinates.

Codebooks and generator know keys by their coordinates. Trained on from the old weights they stay about where they were;
what turned is turned back (orthogonal Procrustes over the items of both runs), which no cosine and no score notices.

Letters: N = items, D = columns of a key.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from model.graph_encoder import ItemVectors
from model.graph_rqvae import GraphRQVAE, GraphRQVAEConfig
from offline import progress
from offline.dataset import Dataset
from offline.previous_run import PreviousRun, misfit
from offline.recipe_settings import Recipe

SHAPE = (
    "feature_dims",
    "ordered_history",
    "max_history",
    "dim",
    "members",
    "member_dim",
    "num_graph_layers",
    "collaborative_loss",
)
"""What two graph encoders must have in common for the weights of one to mean something in the other."""

NOT_TAKEN_OVER = ("encoder.", "quantizer.", "decoder.", "has_interactions")
"""The codes have a stage of their own; what has interactions is a matter of the data."""


@dataclass(frozen=True, eq=False)
class GraphStart:
    """What the graph encoder starts from.

    Attributes:
        rows: int64 [N], the row that each item had in the previous run, -1 where it is new.
        keys: [items there, D], the keys of the previous run.
        weights: of the previous graph encoder; None where its shape is another, so that only its keys are a target.
        temperature: that the weights were trained with.
    """

    rows: Tensor
    keys: Tensor
    weights: Mapping[str, Tensor] | None
    temperature: float

    def shortened(self, recipe: Recipe) -> Recipe:
        """The recipe with what is left to do; the temperature is not chosen again."""
        if self.weights is None:
            return recipe
        warm, graph = recipe.warm, recipe.graph
        return replace(
            recipe,
            graph=replace(
                graph,
                num_steps=share_of(graph.num_steps, warm.graph_steps),
                num_alignment_steps=share_of(graph.num_alignment_steps, warm.graph_steps),
                learning_rate=graph.learning_rate * warm.graph_learning_rate,
                temperatures=(self.temperature,),
            ),
        )

    @torch.no_grad()
    def take_over(self, model: GraphRQVAE) -> bool:
        """Copy the weights, free embeddings by item; whether there were any to copy.

        An item that nobody had had yet keeps its new embedding: the old one only learned to be far from everybody. So
        the scale of the features stays the old one, and an item whose content is the same has the same features.
        """
        if self.weights is None:
            return False
        had_interactions = self.weights["has_interactions"].flatten() > 0
        known = (self.rows >= 0) & had_interactions[self.rows.clamp(min=0)]
        for name, tensor in model.state_dict().items():
            if name.endswith(("key_embedding", "context_embedding")):
                tensor[known] = self.weights[name][self.rows[known]]
            elif not name.startswith(NOT_TAKEN_OVER):
                tensor.copy_(self.weights[name])
        return True

    @torch.no_grad()
    def align(self, model: GraphRQVAE, each: Sequence[ItemVectors]) -> None:
        """Turn the projection of what the members say [N, member_dim], so that known items lie where they lay."""
        shared = (self.rows >= 0) & (model.has_interactions.flatten() > 0)
        keys, target = model.joined([vectors.keys for vectors in each])[shared], self.keys[self.rows[shared]]
        if not len(keys):
            return
        left, _, right = torch.linalg.svd((keys.T @ target).double())
        rotation = (left @ right).float()
        model.turn_projection(rotation)
        before, after = ((vectors * target).sum(-1).mean().item() for vectors in (keys, keys @ rotation))
        progress.say(
            f"keys of {len(keys)} known items against those of the previous run: mean cosine {before:.3f}, "
            f"{after:.3f} when turned back"
        )


def share_of(steps: int, share: float) -> int:
    """That share of some steps, one at least where there were any."""
    return min(steps, max(1, round(steps * share)))


def graph_start(previous: PreviousRun, dataset: Dataset, recipe: Recipe, config: GraphRQVAEConfig) -> GraphStart | None:
    """What a graph encoder of that configuration starts from; says in one line where it starts cold.

    Raises:
        BadInputError: a file of the previous run is damaged.
    """
    if recipe.graph.quantization == "joint":
        progress.say("graph encoder: starts cold, because it is trained jointly with codes that have no start yet")
        return None
    rows, keys = torch.from_numpy(previous.rows_of(dataset.item_ids)), previous.keys()
    there, weights = previous.graph_encoder()
    reason = misfit(there, asdict(config), SHAPE)
    if keys.shape[1] != config.dim:
        progress.say(f"graph encoder: starts cold, because {reason}")
        return None
    if reason is not None:
        progress.say(f"graph encoder: starts cold, because {reason}; its keys are turned towards the previous ones")
        return GraphStart(rows, keys, None, there["temperature"])
    num_known = int((rows >= 0).sum())
    progress.say(f"graph encoder: starts from {previous.run.folder}, which knows {num_known} of {len(rows)} items")
    return GraphStart(rows, keys, weights, there["temperature"])
