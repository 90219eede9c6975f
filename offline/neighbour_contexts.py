"""Contexts of an item's nearest neighbours: what an item that nobody has had yet tells of whoever will have it.

Near are items whose keys, column by column relative to mean and deviation, point the same way: so the directions in
which all keys lie, popularity above all, do not decide it. By the keys as they are, smoothing helps nobody.

Letters: K = known items, M = items that ask, D = columns.
"""

from typing import Final

import torch
from torch import Tensor

NUM_NEIGHBOURS: Final = 10
_BLOCK_SCORES: Final = 2**26  # similarities in memory at a time


class Neighbourhood:
    """Items that may be neighbours.

    Args:
        keys: unit vectors [K, D], at least one.
        contexts: [K, D].
    """

    def __init__(self, keys: Tensor, contexts: Tensor) -> None:
        self._contexts = contexts
        self._mean, self._deviation = keys.mean(0), keys.std(0, correction=0).clamp(min=1e-6)
        self._relative = self._direction(keys)

    def contexts_near(self, keys: Tensor, own: Tensor | None = None) -> Tensor:
        """Mean contexts [M, D] of the nearest neighbours of unit keys [M, D].

        Args:
            keys: who asks.
            own: int64 [M], the place among the K of who asks, -1 where there is none: nobody is their own neighbour.
        """
        num_neighbours = min(NUM_NEIGHBOURS, max(1, len(self._relative) - 1))
        own = torch.full((len(keys),), -1, device=keys.device) if own is None else own
        means = [keys.new_empty(0, self._contexts.shape[1])]
        size = max(1, _BLOCK_SCORES // len(self._relative))
        for some, self_place in zip(keys.split(size), own.split(size), strict=True):
            similarity = self._direction(some) @ self._relative.T
            asking = torch.nonzero(self_place >= 0).flatten()
            similarity[asking, self_place[asking]] = -torch.inf
            means.append(self._contexts[similarity.topk(num_neighbours, dim=1).indices].mean(dim=1))
        return torch.cat(means)

    def _direction(self, keys: Tensor) -> Tensor:
        return torch.nn.functional.normalize((keys - self._mean) / self._deviation, dim=1)
