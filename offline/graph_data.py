"""The training interactions as the graphs that the Graph RQ-VAE propagates over."""

import warnings

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor

from model.graph_encoder import InteractionGraph, TransitionGraph
from offline.dataset import Dataset, Histories, IntArray

MAX_STEP = 3
"""Items further apart than this in a sequence are no transition: every layer of the graph encoder reaches as far again,
and an edge for every pair would be a graph of sets."""

STEP_DECAY = 0.8
"""Weight of a transition per further place between its items.

It and the next are taken over from plain transition counts, where `offline.baselines.transitions` has what other values
come to; in the graph they were not tried apart. Edges are normalised by their sums, so only the proportions matter."""

BACKWARD_WEIGHT = 0.4
"""Weight of a transition in the other direction: what came before says something of an item too, but less."""


def build_graph(dataset: Dataset) -> InteractionGraph | TransitionGraph:
    """Transitions where the order of interactions means something, else users and their sets."""
    return transition_graph(dataset) if dataset.has_time else interaction_graph(dataset)


def interaction_graph(dataset: Dataset) -> InteractionGraph:
    """The bipartite graph of the distinct training interactions, normalised by `1 / √(degree · degree)`."""
    users, items = dataset.train
    taken = _summed(users, items, np.ones(len(users)), (dataset.num_users, dataset.num_items))
    taken.data[:] = 1.0  # an item that a user took twice counts once
    degrees = np.maximum(taken.sum(axis=0), 1)
    item_scale = torch.from_numpy(1.0 / np.sqrt(degrees)).to(torch.get_default_dtype()).unsqueeze(1)
    return InteractionGraph(*_both_ways(taken), item_scale)


def transition_graph(dataset: Dataset) -> TransitionGraph:
    """Directed edges between items at most `MAX_STEP` places apart in a user's training sequence."""
    forward = _forward_transitions(dataset.histories("valid"), dataset.num_items)
    return TransitionGraph(*_both_ways(sparse.csr_array(forward + BACKWARD_WEIGHT * forward.T)))


def _forward_transitions(histories: Histories, num_items: int) -> sparse.csr_array:
    """Weights [N, N] of (earlier, later) items, those that occur more than once added up."""
    users = np.repeat(np.arange(len(histories.offsets) - 1), np.diff(histories.offsets))
    total = sparse.csr_array((num_items, num_items))
    for step in range(1, MAX_STEP + 1):
        same = users[:-step] == users[step:]
        first, second = histories.items[:-step][same], histories.items[step:][same]
        weights = np.full(len(first), STEP_DECAY ** (step - 1))
        total = total + _summed(first, second, weights, (num_items, num_items))
    return sparse.csr_array(total)


def _summed(
    rows: IntArray, columns: IntArray, weights: npt.NDArray[np.float64], shape: tuple[int, int]
) -> sparse.csr_array:
    """Edges as a matrix, those that occur more than once added up; rows and columns of 32 bits: there are far fewer."""
    return sparse.csr_array((weights, (rows.astype(np.int32), columns.astype(np.int32))), shape=shape)


def _both_ways(edges: sparse.csr_array) -> tuple[Tensor, Tensor]:
    """Edges normalised by `1 / √(row sum · column sum)`, as sparse CSR; and the transpose of that."""
    rows, columns = (np.maximum(edges.sum(axis=axis), np.finfo(float).tiny) ** -0.5 for axis in (1, 0))
    edges.data *= np.repeat(rows, np.diff(edges.indptr)) * columns[edges.indices]
    return _as_tensor(edges), _as_tensor(sparse.csr_array(edges.T))


def _as_tensor(matrix: sparse.csr_array) -> Tensor:
    """The matrix, with the indices that it has: of 32 bits unless there are billions of edges."""
    matrix.sort_indices()
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
    return torch.sparse_csr_tensor(
        torch.from_numpy(matrix.indptr),
        torch.from_numpy(matrix.indices),
        torch.from_numpy(matrix.data).to(torch.get_default_dtype()),
        matrix.shape,
        check_invariants=True,
    )
