"""The collaborative losses of the graph encoder: which items go with a history.

The softmax form is the multinomial likelihood of items under the cosine of history state and key. It runs over all
items or over a sample of them; a sampled item stands for those that were not drawn, so its logit is raised by the
logarithm of how many it stands for. BPR, the paper's loss, compares each target with one other item.

Letters: P = histories, C = candidates (items that the softmax runs over), T = targets, D = width of a key.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Candidates(NamedTuple):
    """The items that a batch is compared with.

    Attributes:
        rows: int64 [C], item rows.
        correction: float [C], logarithm of how many items each stands for.
    """

    rows: Tensor
    correction: Tensor


class Targets(NamedTuple):
    """Pairs of a history and an item that goes with it: int64 [T] each, positions in P and in C."""

    histories: Tensor
    candidates: Tensor


def softmax_loss(states: Tensor, keys: Tensor, correction: Tensor, targets: Targets, temperature: float) -> Tensor:
    """Mean over the targets of the negative log-likelihood.

    Args:
        states: unit vectors [P, D].
        keys: unit vectors of the candidates [C, D].
        correction: of the candidates, [C].
        targets: T pairs.
        temperature: of the cosine.
    """
    # [P, C] is the largest tensor of training: every pass over it counts.
    logits = torch.addmm(correction, states / temperature, keys.T)
    # Flat gathers: the gradient of two-dimensional indexing takes ten times as long on a CPU.
    found = logits.flatten().gather(0, targets.histories * logits.shape[1] + targets.candidates)
    return logits.logsumexp(dim=1).gather(0, targets.histories).mean() - found.mean()


def bpr_loss(states: Tensor, keys: Tensor, targets: Targets, negatives: Tensor, temperature: float) -> Tensor:
    """Mean over the targets of `-log σ(target - negative)` (arXiv 1205.2618).

    Args:
        states: unit vectors [P, D].
        keys: unit vectors of the candidates [C, D].
        targets: T pairs.
        negatives: int64 [T], another candidate for each; it may be a target itself, with small probability.
        temperature: of the cosine.
    """
    states = states[targets.histories]
    difference = (states * (keys[negatives] - keys[targets.candidates])).sum(-1)
    return F.softplus(difference / temperature).mean()


def set_states(contexts: Tensor, items: Tensor, starts: Tensor) -> Tensor:
    """History states of sets, [P, D], of contexts [N, D].

    Args:
        contexts: [N, D].
        items: int64 [M], the item rows of all histories, one after the other.
        starts: int64 [P], where each history starts in `items`.
    """
    return F.normalize(F.embedding_bag(items, contexts, starts, mode="sum"), dim=-1)


def prefix_states(contexts: Tensor, items: Tensor, log_recency: Tensor, dropout: float) -> Tensor:
    """History states of every prefix of sequences, [B, L, D]: at position l, of the items 0 to l.

    Args:
        contexts: [N, D].
        items: int64 [B, L], item rows, oldest first; what stands behind a sequence's end has no meaning.
        log_recency: [at least L], logarithms of the weights, newest first.
        dropout: probability that an item is left out of a prefix.
    """
    length = items.shape[1]
    places = torch.arange(length, device=items.device)
    age = places.unsqueeze(1) - places
    weights = log_recency.exp()[age.clamp(min=0)] * (age >= 0)
    weights = F.dropout(weights.expand(len(items), -1, -1), dropout)
    return F.normalize(weights @ F.embedding(items, contexts), dim=-1)
