"""The graph network of the Graph RQ-VAE: item vectors spread over the training interactions.

There are no transformations between the layers (LightGCN, arXiv 2002.02126). An item has two vectors: its *key* says
who it is for, its *context* what it tells of whoever has it in their history. A user has none of their own: a history's
vector is a sum of contexts (model.history_state), so a user who was never in the graph has a vector as good as the
others' (docs/decisions.md, 18).

Letters: U = users, N = items, D = model width.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class ItemVectors(NamedTuple):
    """Keys [N, D] and contexts [N, D]."""

    keys: Tensor
    contexts: Tensor


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
        users = spread(self.to_users, self.to_items, contexts)
        for _ in range(num_layers):
            contexts = contexts + items
            users, items = (
                spread(self.to_users, self.to_items, items),
                spread(self.to_items, self.to_users, users),
            )
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
    """Starts every item from content and free embeddings, and lets a graph propagate.

    Free embeddings are dropped at random per item, so that an item without one (it appears tomorrow) is a case that
    training has seen.

    Args:
        num_items: N.
        dim: D.
        num_layers: propagation steps; 0 = the graph takes no part.
        embedding_dropout: probability that an item goes without its free embeddings in a training pass; 1 = there are
            none.
        num_members: independent graph encoders, side by side in equal parts of D. Each has its own start, dropout and
            loss, and what they say is averaged: on sparse data that is worth more than one encoder of the whole width.
    """

    def __init__(
        self, num_items: int, dim: int, num_layers: int, embedding_dropout: float, num_members: int = 1
    ) -> None:
        super().__init__()
        self.num_members = num_members
        self.num_layers = num_layers
        self.embedding_dropout = embedding_dropout
        self.key_embedding = nn.Parameter(torch.randn(num_items, dim) * 0.1)
        self.context_embedding = nn.Parameter(torch.randn(num_items, dim) * 0.1)

    def forward(self, content: ItemVectors, graph: InteractionGraph | TransitionGraph, speaks: Tensor) -> ItemVectors:
        """Keys and contexts [N, D], of any length, from what the content says of both.

        `speaks` [N, 1] is 0 for items whose free embeddings are left out: without interactions an item is nobody's
        target, and they would only learn to be far from everybody.
        """
        start = ItemVectors(
            content.keys + self._dropped(self.key_embedding) * speaks,
            content.contexts + self._dropped(self.context_embedding) * speaks,
        )
        return graph.propagate(start, self.num_layers)

    def _dropped(self, embedding: Tensor) -> Tensor:
        if self.embedding_dropout == 1:
            return torch.zeros_like(embedding)  # no step has trained it
        if not self.training or self.embedding_dropout == 0:
            return embedding
        kept = torch.rand(len(embedding), self.num_members) >= self.embedding_dropout
        return embedding * kept.repeat_interleave(embedding.shape[1] // self.num_members, dim=1)
