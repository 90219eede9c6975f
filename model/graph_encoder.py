"""The graph network of the Graph RQ-VAE: content spread over the user-item training graph.

Letters: U = users, N = items, D = model width.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class InteractionGraph(NamedTuple):
    """The bipartite training graph with symmetric normalisation `1 / √(degree(user) · degree(item))`.

    Attributes:
        to_users: sparse COO [U, N].
        to_items: sparse COO [N, U], its transpose.
    """

    to_users: Tensor
    to_items: Tensor


class GraphEncoder(nn.Module):
    """Propagation without transformations between layers, mean over the layers (LightGCN, arXiv 2002.02126).

    Items start from content plus a free embedding that is dropped at random per item, so that an item without one (it
    appears tomorrow) is a case that training has seen. Users start from a free embedding.

    Args:
        num_users: U.
        num_items: N.
        dim: D.
        num_layers: propagation steps.
        embedding_dropout: probability that an item goes without its free embedding in a training pass.
    """

    def __init__(self, num_users: int, num_items: int, dim: int, num_layers: int, embedding_dropout: float) -> None:
        super().__init__()
        self.num_layers = num_layers
        self.embedding_dropout = embedding_dropout
        self.user_embedding = nn.Parameter(torch.randn(num_users, dim) * 0.1)
        self.item_embedding = nn.Parameter(torch.randn(num_items, dim) * 0.1)

    def forward(self, content: Tensor, graph: InteractionGraph) -> tuple[Tensor, Tensor]:
        """User vectors [U, D] and item vectors [N, D] of content vectors [N, D]."""
        embedding: Tensor = self.item_embedding
        if self.training and self.embedding_dropout > 0:
            kept = torch.rand(len(embedding), 1) >= self.embedding_dropout
            embedding = embedding * kept
        users, items = self.user_embedding, content + embedding
        user_sum, item_sum = users, items
        for _ in range(self.num_layers):
            users, items = torch.sparse.mm(graph.to_users, items), torch.sparse.mm(graph.to_items, users)
            user_sum, item_sum = user_sum + users, item_sum + items
        return user_sum / (self.num_layers + 1), item_sum / (self.num_layers + 1)
