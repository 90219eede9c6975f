"""Token log-probabilities over the children of trie nodes: the one function that training and beam search share.

Letters: B = batch, W = nodes per request, K = children looked at per node (the widest node of the level),
V = vocabulary of the level.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from model.attention import NEGATIVE


class TrieLevel(NamedTuple):
    """Arrays of one level of the trie (service.contract.trie) as tensors.

    Attributes:
        child_start: int32 [num_nodes + 1].
        tokens: int32 [num_children + K], the token of each child; K more, so that K children can be read anywhere.
        slots: int64 [K] = 0 .. K - 1; its length carries K into an exported graph.
    """

    child_start: Tensor
    tokens: Tensor
    slots: Tensor


class ChildLogProbs(NamedTuple):
    """The K numbers from the first child of each node on.

    Attributes:
        log_probs: [B, W, K]; below half of `NEGATIVE` where the node has no such child.
        nodes: int64 [B, W, K], node numbers at the next depth; beyond the node's last child they are somebody else's.
        exists: bool [B, W, K].
        first: int64 [B, W, 1], the node's first child.
        end: int64 [B, W, 1], one behind its last.
    """

    log_probs: Tensor
    nodes: Tensor
    exists: Tensor
    first: Tensor
    end: Tensor


def child_log_probs(logits: Tensor, nodes: Tensor, level: TrieLevel) -> ChildLogProbs:
    """Softmax over the children that the catalogue has, before any request's filter (docs/decisions.md, 3).

    Args:
        logits: [B, W, V].
        nodes: int64 [B, W], node numbers at this level's depth.
        level: the trie arrays of the level.
    """
    width, slots = nodes.shape[1], level.slots.shape[0]
    at = nodes.flatten()
    # gather, because x[index] and index_select become nodes that take 20 times as long in an exported graph.
    first = level.child_start.gather(0, at).view(-1, width, 1).long()
    end = level.child_start.gather(0, at + 1).view(-1, width, 1).long()
    children = first + level.slots
    exists = children < end
    tokens = level.tokens.gather(0, children.flatten()).view(-1, width, slots)
    kept = torch.where(exists, logits.gather(-1, tokens.long()), NEGATIVE)
    return ChildLogProbs(kept.log_softmax(dim=-1), children, exists, first, end)
