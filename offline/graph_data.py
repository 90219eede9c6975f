"""The training interactions as what the Graph RQ-VAE takes: a normalised sparse graph and batches of positives."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.graph_encoder import InteractionGraph
from offline.dataset import Dataset, Histories


def build_graph(dataset: Dataset) -> InteractionGraph:
    """The bipartite graph of the distinct training interactions, normalised by `1 / √(degree · degree)`."""
    pairs = np.unique(dataset.train.users * dataset.num_items + dataset.train.items)
    users, items = np.divmod(pairs, dataset.num_items)
    user_degree = np.bincount(users, minlength=dataset.num_users)
    item_degree = np.bincount(items, minlength=dataset.num_items)
    weights = 1.0 / np.sqrt(user_degree[users] * item_degree[items])
    to_users = torch.sparse_coo_tensor(
        torch.from_numpy(np.stack([users, items])),
        torch.from_numpy(weights.astype(np.float32)),
        (dataset.num_users, dataset.num_items),
        check_invariants=True,
    ).coalesce()
    return InteractionGraph(to_users, to_users.t().coalesce())


def positives_of(histories: Histories, users: npt.NDArray[np.int64], num_items: int) -> Tensor:
    """float32 [len(users), num_items], 1 where the user interacted with the item."""
    positives = torch.zeros(len(users), num_items)
    for row, user in enumerate(users):
        positives[row, torch.from_numpy(histories.of(int(user)))] = 1.0
    return positives
