"""The history state: a history as one vector, comparable with the items' keys. The dense term is their cosine.

It is the graph encoder's user vector and nothing else: the item vectors have seen the held-out interactions, and what
learns from those on top of them gets worse. What order says beyond recency is left to model.sequence_encoder, which has
a teacher (docs/experiments.md).

Letters: B = batch, H = history slots, D = columns of a key or context.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class HistoryState(nn.Module):
    """Sum of the contexts of a history's items, each weighted by its recency, brought to unit length.

    Args:
        dim: D.
        max_history: largest H.
    """

    recency: Tensor
    empty: Tensor

    def __init__(self, dim: int, max_history: int) -> None:
        super().__init__()
        # Learned with the graph encoder, not with the generator: here they are constants.
        self.register_buffer("recency", torch.ones(max_history))
        self.register_buffer("empty", torch.zeros(dim))

    def fit(self, recency: Tensor, empty: Tensor) -> None:
        """Take over what the graph encoder learned.

        Args:
            recency: [at most max_history] weights, newest first; slots beyond get the last one.
            empty: [D], what an empty history is taken for.
        """
        self.recency[: len(recency)] = recency
        self.recency[len(recency) :] = recency[-1]
        self.empty.copy_(empty)

    def forward(self, contexts: Tensor, filled: Tensor) -> Tensor:
        """Unit vectors [B, D].

        Args:
            contexts: [B, H, D], newest first.
            filled: [B, H], 1 = item, 0 = empty slot.
        """
        weights = filled * self.recency[: filled.shape[1]]
        total = (weights.unsqueeze(1) @ contexts).squeeze(1)
        is_empty = (filled.sum(1, keepdim=True) == 0).to(total.dtype)
        return F.normalize(total + is_empty * self.empty, dim=-1)
