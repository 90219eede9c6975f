"""The generator's teachers: what goes with a history, as token conditionals along the trie.

Held-out interactions are few (44 thousand on lastfm-2k) and every generator over-fits them; a teacher gives a dense
target at every trie node, for any history. The graph encoder teaches always; beside it a peer, with the share that
validation gives it (`offline.co_teacher`). A node covers a contiguous range of leaf positions, so the
mass below it is one difference of a running sum.

Letters: B = histories, H = history slots, N = items, T = targets, K = children of a node, D = columns of a key.
"""

import copy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from model.trie_softmax import ChildLogProbs
from offline.co_teacher import CoTeacher
from offline.dataset import Histories
from offline.devices import moved
from service.contract.trie import Trie


class TeacherTargets(NamedTuple):
    """Leaf positions int64 [B, T] drawn from the teacher, and its running mass over leaf positions [B, N + 1]."""

    leaves: Tensor
    running: Tensor


class Teacher:
    """Distribution over a user's next items.

    Args:
        keys: unit keys of the items [N, D].
        trie: the catalogue's Rec-IDs.
        temperature: of the cosine.
        beside: what teaches beside the graph encoder, or None.
        share: of it in the distribution, where it knows anything of a history.
    """

    def __init__(
        self,
        keys: Tensor,
        trie: Trie,
        temperature: float,
        beside: CoTeacher | None = None,
        share: float = 0.0,
    ) -> None:
        self._keys = keys
        self._temperature = temperature
        self._beside = beside if share > 0 else None
        self.share = share if self._beside is not None else 0.0
        self._leaf_to_row = torch.from_numpy(trie.leaf_to_row).long()
        self._child_starts = tuple(torch.from_numpy(starts) for starts in trie.leaf_starts()[1:])

    def to(self, device: torch.device) -> "Teacher":
        """The same on a device; what teaches beside stays in the CPU's memory."""
        there = copy.copy(self)
        there._keys, there._leaf_to_row, there._child_starts = moved(
            (self._keys, self._leaf_to_row, self._child_starts), device
        )
        return there

    def probabilities(self, state: Tensor, history: Tensor) -> Tensor:
        """[B, N] by item row; zero on the history's own items.

        A history that holds the whole catalogue leaves nothing to teach; there the distribution is uniform.

        Args:
            state: history states [B, D].
            history: int64 [B, H], newest first, -1 = empty slot.
        """
        filled = history >= 0
        rows = torch.arange(len(history), device=history.device).unsqueeze(1).expand_as(history)[filled]
        logits = state @ self._keys.T / self._temperature
        logits[rows, history[filled]] = -torch.inf
        nothing_left = logits.isinf().all(dim=1, keepdim=True)
        probabilities = logits.masked_fill(nothing_left, 0.0).softmax(dim=-1)
        if self._beside is None:
            return probabilities
        masses = torch.from_numpy(self._beside.masses(_as_histories(history.cpu()))).to(history.device)
        masses[rows, history[filled]] = 0.0
        total = masses.sum(dim=1, keepdim=True)
        share = self.share * (total > 0)
        return (1 - share) * probabilities + share * masses / total.clamp(min=1e-12)

    def draw(self, probabilities: Tensor, draws: Tensor) -> TeacherTargets:
        """Draw targets from item probabilities [B, N], and sum them along the leaves.

        Args:
            probabilities: [B, N], by item row.
            draws: float64 [B, T], in [0, 1): where the running sum passes that share of its end, an item is drawn.
        """
        by_leaf = probabilities[:, self._leaf_to_row]
        running = F.pad(by_leaf.double().cumsum(dim=1), (1, 0))
        leaves = torch.searchsorted(running[:, 1:].contiguous(), draws * running[:, -1:], right=True)
        return TeacherTargets(leaves.clamp(max=by_leaf.shape[1] - 1), running)

    def child_probabilities(self, level: int, running: Tensor, children: ChildLogProbs) -> Tensor:
        """The teacher's conditional over the children of nodes at a level: [B, T, K], zero where there is no child."""
        starts = self._child_starts[level]
        flat = children.nodes.flatten(1).long().clamp(max=len(starts) - 2)  # what does not exist is masked below
        mass = running.gather(1, starts[flat + 1]) - running.gather(1, starts[flat])
        mass = mass.view_as(children.nodes).clamp(min=0) * children.exists
        return (mass / mass.sum(-1, keepdim=True).clamp(min=1e-12)).to(self._keys.dtype)


def _as_histories(history: Tensor) -> Histories:
    """Padded histories [B, H], newest first, as lists, oldest first."""
    oldest_first = history.flip(1)
    filled = oldest_first >= 0
    offsets = F.pad(filled.sum(dim=1).cumsum(dim=0), (1, 0))
    return Histories(offsets.numpy(), oldest_first[filled].numpy())
