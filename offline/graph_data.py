"""The training interactions as the graphs that the Graph RQ-VAE propagates over."""

import warnings
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.graph_encoder import InteractionGraph, TransitionGraph
from offline.dataset import Dataset, Histories

Int64Array = npt.NDArray[np.int64]

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
    pairs = np.unique(dataset.train.users * dataset.num_items + dataset.train.items)
    users, items = np.divmod(pairs, dataset.num_items)
    to_users = _normalised(users, items, np.ones(len(pairs)), (dataset.num_users, dataset.num_items))
    degrees = np.bincount(items, minlength=dataset.num_items)
    item_scale = torch.from_numpy(1.0 / np.sqrt(np.maximum(degrees, 1))).to(torch.get_default_dtype()).unsqueeze(1)
    return InteractionGraph(to_users, to_users.t().to_sparse_csr(), item_scale)


def transition_graph(dataset: Dataset) -> TransitionGraph:
    """Directed edges between items at most `MAX_STEP` places apart in a user's training sequence."""
    parts = list(_transitions(dataset.histories("valid")))
    earlier, later, weights = (np.concatenate(column) for column in zip(*parts, strict=True))
    to_earlier = _normalised(earlier, later, weights, (dataset.num_items, dataset.num_items))
    return TransitionGraph(to_earlier, to_earlier.t().to_sparse_csr())


def _transitions(histories: Histories) -> Iterator[tuple[Int64Array, Int64Array, npt.NDArray[np.float64]]]:
    """Item rows (earlier, later) and weights, for one distance and direction at a time."""
    users = np.repeat(np.arange(len(histories.offsets) - 1), np.diff(histories.offsets))
    for step in range(1, MAX_STEP + 1):
        same = users[:-step] == users[step:]
        first, second = histories.items[:-step][same], histories.items[step:][same]
        weight = np.full(len(first), STEP_DECAY ** (step - 1))
        yield first, second, weight
        yield second, first, weight * BACKWARD_WEIGHT


def _normalised(
    rows: Int64Array, columns: Int64Array, weights: npt.NDArray[np.float64], shape: tuple[int, int]
) -> Tensor:
    """Sparse CSR of the edges, those that occur twice added up, normalised by `1 / √(row sum · column sum)`."""
    row_sums = np.bincount(rows, weights, minlength=shape[0])
    column_sums = np.bincount(columns, weights, minlength=shape[1])
    values = torch.from_numpy(weights / np.sqrt(row_sums[rows] * column_sums[columns])).to(torch.get_default_dtype())
    indices = torch.from_numpy(np.stack([rows, columns]))
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
    return torch.sparse_coo_tensor(indices, values, shape, check_invariants=True).to_sparse_csr()
