"""The graph network of the Graph RQ-VAE: item vectors spread over the training interactions.

There are no transformations between the layers (LightGCN, arXiv 2002.02126). An item has two vectors: its *key* says
who it is for, its *context* what it tells of whoever has it in their history. A user has none of their own: a history's
vector is a sum of contexts (model.history_state), so a user who was never in the graph has a vector as good as the
others' (docs/decisions.md, 18).

Letters: U = users, N = items, D = model width.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.modality_fusion import ModalityFusion, Standardised

Content = Literal["fused", "aligned"]


class ItemVectors(NamedTuple):
    """Keys [N, D] and contexts [N, D]."""

    keys: Tensor
    contexts: Tensor


class Propagates(Protocol):
    """A graph, whole or in part, that spreads vectors over interactions."""

    def propagate(self, start: ItemVectors, num_layers: int) -> ItemVectors:
        """What reaches the items [R, D] of starts [N, D] in up to so many layers, summed; R = N but for a sample."""


class _Product(torch.autograd.Function):
    """A sparse matrix times a dense one, with the gradient through the transpose that the graph has anyway.

    Both in CSR: less than half the time of torch's own gradient, which transposes anew at every step.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, transpose: Tensor, dense: Tensor) -> Tensor:
        ctx.transpose = transpose
        return matrix @ dense

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, Tensor]:
        return None, None, ctx.transpose @ gradients[0].contiguous()


def spread(matrix: Tensor, transpose: Tensor, dense: Tensor) -> Tensor:
    """`matrix @ dense` of a sparse CSR matrix [R, C] and vectors [C, D], given the transpose too: [R, D]."""
    product: Tensor = _Product.apply(matrix, transpose, dense)  # type: ignore[no-untyped-call]
    return product


class InteractionGraph(NamedTuple):
    """Users and the sets of items they have, with symmetric normalisation `1 / √(degree(user) · degree(item))`.

    Attributes:
        to_users: sparse CSR [U, N].
        to_items: sparse CSR [N, U], its transpose.
        item_scale: [N, 1], `1 / √degree(item)`; 1 for an item without interactions.
    """

    to_users: Tensor
    to_items: Tensor
    item_scale: Tensor

    def propagate(self, start: ItemVectors, num_layers: int) -> ItemVectors:
        """Items to users to items, summed over the layers.

        A user of LightGCN is their own start and what reaches them from items in layers 1 to K; with the start made of
        contexts, that is exactly a sum over their items of `(context + item layers 0 .. K - 1) / √degree`.
        """
        items, keys, contexts = start.keys, start.keys, start.contexts
        users = spread(self.to_users, self.to_items, contexts) if num_layers else contexts
        for layer in range(num_layers):
            contexts = contexts + items
            earlier, items = items, spread(self.to_items, self.to_users, users)
            if layer < num_layers - 1:  # nobody hears of the last users
                users = spread(self.to_users, self.to_items, earlier)
            keys = keys + items
        return ItemVectors(keys, contexts * self.item_scale)


class TransitionGraph(NamedTuple):
    """Directed edges from items to the items that followed, with symmetric normalisation.

    Attributes:
        to_earlier: sparse CSR [N, N], row = an item, column = one that followed it.
        to_later: sparse CSR [N, N], its transpose.
    """

    to_earlier: Tensor
    to_later: Tensor

    def propagate(self, start: ItemVectors, num_layers: int) -> ItemVectors:
        """Contexts take the keys of what followed, keys the contexts of what came before; summed over the layers."""
        keys, contexts = start
        key_sum, context_sum = keys, contexts
        for _ in range(num_layers):
            keys, contexts = (
                spread(self.to_later, self.to_earlier, contexts),
                spread(self.to_earlier, self.to_later, keys),
            )
            key_sum, context_sum = key_sum + keys, context_sum + contexts
        return ItemVectors(key_sum, context_sum)


class GraphEncoder(nn.Module):
    """Starts every item from content and free embeddings, or from the embeddings alone, and lets a graph propagate.

    With *fused* content an item starts from both; the free embedding is dropped at random per item, so that an item
    without one (it appears tomorrow) is a case that training has seen. With *aligned* content the embedding starts
    alone; a projection of the content learns to predict the finished keys, and stands in for them where an item has no
    interactions. Neither is better everywhere (docs/experiments.md), so a Graph RQ-VAE has members of both kinds.

    Args:
        num_items: N.
        dim: D.
        num_layers: propagation steps; 0 = the graph takes no part.
        content: "fused" or "aligned".
        feature_dims: modality to number of columns.
        ordered_history: whether contexts start from content, too; in a set they are better off without.
        embedding_dropout: with fused content, probability that an item goes without its free embeddings in a training
            pass; 1 = there are none.
    """

    def __init__(
        self,
        *,
        num_items: int,
        dim: int,
        num_layers: int,
        content: Content,
        feature_dims: Mapping[str, int],
        ordered_history: bool,
        embedding_dropout: float,
    ) -> None:
        super().__init__()
        self.content = content
        self.num_items = num_items
        self.num_layers = num_layers
        # Aligned content never meets an embedding, so there is nothing to get used to, and dropout costs quality.
        self.embedding_dropout = embedding_dropout if content == "fused" else 0.0
        self.key_content = ModalityFusion(feature_dims, dim)
        self.context_content = ModalityFusion(feature_dims if content == "fused" and ordered_history else {}, dim)
        self.key_embedding = nn.Parameter(torch.randn(num_items, dim) * 0.1)
        self.context_embedding = nn.Parameter(torch.randn(num_items, dim) * 0.1)

    def forward(self, features: Standardised, graph: Propagates, has_interactions: Tensor) -> ItemVectors:
        """Unit keys [R, D], and contexts [R, D] of a mean length of 1, of the items that the graph gives.

        Args:
            features: of the items.
            graph: training interactions.
            has_interactions: [N, 1], 1 where an item is in the graph. Without, an item is nobody's target, and its
                embedding would only learn to be far from everybody: where there is content, it takes its place.
        """
        if self.content == "aligned":
            start = ItemVectors(self.key_embedding, self.context_embedding)
        else:
            start = self._fused_start(features, has_interactions)
        keys, contexts = graph.propagate(start, self.num_layers)
        keys, contexts = F.normalize(keys, dim=-1), contexts / contexts.norm(dim=-1).mean().clamp(min=1e-12)
        if self.content == "aligned" and self.key_content.modalities and not self.training:
            keys = torch.where(has_interactions > 0, keys, self.content_keys(features))
        return ItemVectors(keys, contexts)

    def content_keys(self, features: Standardised) -> Tensor:
        """Unit keys [N, D] of the content alone."""
        return F.normalize(self.key_content(features, self.num_items), dim=-1)

    def alignment(self, features: Standardised, keys: Tensor, has_interactions: Tensor) -> Tensor:
        """How far the content's keys are from unit keys [N, D], over the items that have interactions: a scalar."""
        distance = 1 - (self.content_keys(features) * keys).sum(-1, keepdim=True)
        return (distance * has_interactions).sum() / has_interactions.sum().clamp(min=1)

    def _fused_start(self, features: Standardised, has_interactions: Tensor) -> ItemVectors:
        speaks = has_interactions if self.key_content.modalities else torch.ones_like(has_interactions)
        return ItemVectors(
            self.key_content(features, self.num_items) + self._dropped(self.key_embedding) * speaks,
            self.context_content(features, self.num_items) + self._dropped(self.context_embedding) * speaks,
        )

    def _dropped(self, embedding: Tensor) -> Tensor:
        if self.embedding_dropout == 1:
            return torch.zeros_like(embedding)  # no step has trained it
        if not self.training or self.embedding_dropout == 0:
            return embedding
        return embedding * (torch.rand(len(embedding), 1, device=embedding.device) >= self.embedding_dropout)
