"""A graph of each kind, small enough to read, as tensors and as dense matrices."""

import warnings

import torch
from torch import Tensor

from model.graph_encoder import InteractionGraph, TransitionGraph

# Users 0, 1, 2 and items 0 .. 4; nobody has taken item 4.
TAKEN = torch.tensor([[1, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 0, 1, 0]]).float()

# Row = an item, column = what followed it: 0 to 1 to 2, 3 to 2, and 2 back to 3; nothing before or behind item 4.
FOLLOWED = torch.zeros(5, 5)
FOLLOWED[[0, 1, 3, 2], [1, 2, 2, 3]] = torch.tensor([0.8, 0.5, 0.3, 0.9])


def sparse(matrix: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        return matrix.to_sparse_csr()


def interactions() -> InteractionGraph:
    degrees = TAKEN.sum(1, keepdim=True) * TAKEN.sum(0, keepdim=True)
    to_users = TAKEN / degrees.clamp(min=1).sqrt()
    item_scale = TAKEN.sum(0).clamp(min=1).rsqrt().unsqueeze(1)
    return InteractionGraph(sparse(to_users), sparse(to_users.T), item_scale)


def transitions() -> TransitionGraph:
    return TransitionGraph(sparse(FOLLOWED), sparse(FOLLOWED.T))


def adjacency_of_interactions() -> Tensor:
    """LightGCN's normalised adjacency [U + N, U + N], users first."""
    adjacency = torch.zeros(8, 8)
    adjacency[:3, 3:] = interactions().to_users.to_dense()
    adjacency[3:, :3] = adjacency[:3, 3:].T
    return adjacency


def adjacency_of_transitions() -> Tensor:
    """[2N, 2N], keys first: a key hears from the contexts of what came before, a context from the keys behind."""
    adjacency = torch.zeros(10, 10)
    adjacency[:5, 5:] = FOLLOWED.T
    adjacency[5:, :5] = FOLLOWED
    return adjacency


def sum_of_powers(adjacency: Tensor, start: Tensor, num_layers: int) -> Tensor:
    """LightGCN without its weights: the start and everything that reaches a row in up to `num_layers` steps."""
    return sum((torch.linalg.matrix_power(adjacency, power) @ start for power in range(1, num_layers + 1)), start)
