"""Token log-probabilities over the children of trie nodes: the one function that training and beam search share.

Letters: K = children looked at per node (the widest node of the level), V = vocabulary of the level.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from model.attention import NEGATIVE


class TrieLevel(NamedTuple):
    """Arrays of one level of the trie (service.contract.trie) as tensors.

    Attributes:
        child_start: int [num_nodes + 1].
        tokens: int [num_children], the token of each child.
        slots: int64 [K] = 0 .. K - 1; its length carries K into an exported graph.
    """

    child_start: Tensor
    tokens: Tensor
    slots: Tensor


class ChildLogProbs(NamedTuple):
    """Children of each node: log-probability (a floor where there is none), node number, existence; all [..., K]."""

    log_probs: Tensor
    nodes: Tensor
    exists: Tensor


def child_log_probs(logits: Tensor, nodes: Tensor, level: TrieLevel) -> ChildLogProbs:
    """Softmax over the children that the catalogue has, before any request's filter (docs/decisions.md, 3).

    Args:
        logits: [..., V].
        nodes: int64 [...], node numbers at this level's depth.
        level: the trie arrays of the level.
    """
    first = level.child_start[nodes].long()
    end = level.child_start[nodes + 1].long()
    children = first.unsqueeze(-1) + level.slots
    exists = children < end.unsqueeze(-1)
    children = torch.where(exists, children, first.unsqueeze(-1))
    tokens = level.tokens[children].long()
    kept = torch.gather(logits, -1, tokens).masked_fill(~exists, NEGATIVE)
    return ChildLogProbs(kept.log_softmax(dim=-1).masked_fill(~exists, NEGATIVE), children, exists)
