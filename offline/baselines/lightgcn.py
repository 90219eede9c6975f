"""LightGCN: embeddings smoothed along the user-item graph, trained with BPR (He et al. 2020, arXiv 2002.02126)."""

from dataclasses import dataclass, field
from itertools import chain, repeat

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offline.baselines.early_stopping import Stopping, train_in_rounds
from offline.baselines.matrices import train_matrix
from offline.baselines.peer import FloatArray, IntArray, Peer
from offline.baselines.ranking import validation_quality
from offline.dataset import Dataset, Histories, held_out_users

MOST_EDGES = 5_000_000
"""Every step propagates over the whole graph: beyond this an epoch takes hours on a core."""
STEPS_PER_ROUND = 40
FIRST_ROUNDS = (5, 5, 10, 20)
"""Steps of the first ones: with a few hundred users the best is over before `STEPS_PER_ROUND`, which is their sum."""
STOPPING = Stopping(most_rounds=63, patience=4, rounds_without_validation=18, short_rounds=len(FIRST_ROUNDS))


class LightGcnModule(nn.Module):
    """Mean of the embeddings after 0..num_layers propagations over the symmetrically normalised graph."""

    def __init__(
        self, edges: IntArray, num_users: int, num_items: int, dim: int, num_layers: int, initial_scale: float = 0.1
    ) -> None:
        super().__init__()
        self.num_users, self.num_layers = num_users, num_layers
        self.embedding = nn.Parameter(torch.randn(num_users + num_items, dim) * initial_scale)
        rows = np.concatenate([edges[0], edges[1] + num_users])
        columns = np.concatenate([edges[1] + num_users, edges[0]])
        degree = np.bincount(rows, minlength=num_users + num_items)
        weights = (1.0 / np.sqrt(degree[rows] * degree[columns])).astype(np.float32)
        size = (num_users + num_items,) * 2
        index = torch.from_numpy(np.stack([rows, columns]))
        graph = torch.sparse_coo_tensor(index, torch.from_numpy(weights), size, check_invariants=True)
        self.graph = graph.coalesce()  # not a buffer: the same in every round

    def forward(self) -> tuple[Tensor, Tensor]:
        """User vectors [U, D] and item vectors [N, D]."""
        layer: Tensor = self.embedding
        total = layer
        for _ in range(self.num_layers):
            layer = torch.sparse.mm(self.graph, layer)
            total = total + layer
        total = total / (self.num_layers + 1)
        return total[: self.num_users], total[self.num_users :]


@dataclass(kw_only=True)
class LightGcn(Peer):
    """Dot product of a user's and an item's vector. The user's comes from training alone, also where histories grew.

    Attributes:
        dim, num_layers: sizes.
        initial_scale: standard deviation at the start; on validation .01 is better on tiktok and .1 on lastfm-2k.
        learning_rate, regularisation, batch_pairs: of Adam, of the L2 term on the batch's embeddings.
        rounds: those of the best round, set by `fit`.
    """

    dim: int = 64
    num_layers: int = 3
    initial_scale: float = 0.1
    learning_rate: float = 0.005
    regularisation: float = 1e-4
    batch_pairs: int = 2048
    rounds: int = field(default=0, init=False)

    def fit(self, dataset: Dataset, *, seed: int) -> None:
        """Train until validation stops improving; negatives are drawn uniformly from what the user does not have."""
        pairs = train_matrix(dataset).tocoo()
        self._known = np.sort(pairs.coords[0] * np.int64(dataset.num_items) + pairs.coords[1])
        self._num_items = dataset.num_items
        random = np.random.default_rng(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            edges = np.stack(pairs.coords).astype(np.int64)
            size = (dataset.num_users, dataset.num_items)
            module = LightGcnModule(edges, *size, self.dim, self.num_layers, self.initial_scale)
        optimizer = torch.optim.Adam(module.parameters(), self.learning_rate)
        lengths = chain(FIRST_ROUNDS, repeat(STEPS_PER_ROUND))

        def one_round() -> float:
            losses = [self._step(module, optimizer, edges, random) for _ in range(next(lengths))]
            self._set_vectors(module)
            return float(np.mean(losses))

        judge = len(held_out_users(dataset, "valid")) > 0
        quality = (lambda: validation_quality(self, dataset)) if judge else None
        self.rounds = train_in_rounds(module, one_round, quality, STOPPING)
        self._set_vectors(module)

    @torch.no_grad()
    def _set_vectors(self, module: LightGcnModule) -> None:
        self._users, self._items = module()

    def scores(self, histories: Histories, users: IntArray) -> FloatArray:
        """Dot products: [B, N]."""
        del histories
        found: FloatArray = (self._users[torch.from_numpy(users)] @ self._items.T).numpy()
        return found

    def _step(
        self, module: LightGcnModule, optimizer: torch.optim.Optimizer, edges: IntArray, random: np.random.Generator
    ) -> float:
        drawn = random.integers(edges.shape[1], size=min(self.batch_pairs, edges.shape[1]))
        users, items = edges[0][drawn], edges[1][drawn]
        others = self._negatives(users, random)
        u, i, j = (torch.from_numpy(rows) for rows in (users, items, others))
        user_vectors, item_vectors = module()
        difference = (user_vectors[u] * (item_vectors[i] - item_vectors[j])).sum(1)
        embedded = module.embedding[torch.cat([u, i + module.num_users, j + module.num_users])]
        loss = F.softplus(-difference).mean() + self.regularisation * 0.5 * embedded.square().sum() / len(u)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    def _negatives(self, users: IntArray, random: np.random.Generator) -> IntArray:
        """One item per user that it does not have; after ten tries, as with users that have everything, any item."""
        others = random.integers(self._num_items, size=len(users))
        for _ in range(10):
            pairs = users * self._num_items + others
            at = np.searchsorted(self._known, pairs).clip(max=len(self._known) - 1)
            taken = np.flatnonzero(self._known[at] == pairs)
            if not len(taken):
                break
            others[taken] = random.integers(self._num_items, size=len(taken))
        return others
