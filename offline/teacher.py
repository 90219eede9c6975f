"""The graph encoder as the generator's teacher: its item distribution, turned into token conditionals along the trie.

Held-out interactions are few (44 thousand on lastfm-2k) and every generator over-fits them; the graph encoder's
distribution over items gives a dense target at every trie node. A node covers a contiguous range of leaf positions, so
the mass below it is one difference of a running sum.

Letters: B = users, N = items, T = targets, K = children of a node.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from model.trie_softmax import ChildLogProbs
from service.contract.trie import Trie


class TeacherTargets(NamedTuple):
    """Leaf positions int64 [B, T] drawn from the teacher, and its running mass over leaf positions [B, N + 1]."""

    leaves: Tensor
    running: Tensor


class Teacher:
    """Distribution of the graph encoder over a user's next items.

    Args:
        users: unit user vectors [U, D].
        items: unit item vectors [N, D].
        trie: the catalogue's Rec-IDs.
        temperature: of the cosine.
    """

    def __init__(self, users: Tensor, items: Tensor, trie: Trie, temperature: float) -> None:
        self._users = users
        self._items = items
        self._temperature = temperature
        self._leaf_to_row = torch.from_numpy(trie.leaf_to_row).long()
        self._child_starts = tuple(torch.from_numpy(starts) for starts in trie.leaf_starts()[1:])

    def probabilities(self, users: Tensor, history: Tensor) -> Tensor:
        """[B, N] by item row; zero on the history's own items (int64 [B, H], -1 = empty slot).

        A history that holds the whole catalogue leaves nothing to teach; there the distribution is uniform.
        """
        logits = self._users[users] @ self._items.T / self._temperature
        rows = torch.arange(len(users)).unsqueeze(1).expand_as(history)[history >= 0]
        logits[rows, history[history >= 0]] = -torch.inf
        nothing_left = logits.isinf().all(dim=1, keepdim=True)
        return logits.masked_fill(nothing_left, 0.0).softmax(dim=-1)

    def draw(self, probabilities: Tensor, num_targets: int) -> TeacherTargets:
        """Draw targets from item probabilities [B, N], and sum them along the leaves."""
        by_leaf = probabilities[:, self._leaf_to_row]
        running = F.pad(by_leaf.double().cumsum(dim=1), (1, 0))
        return TeacherTargets(torch.multinomial(by_leaf, num_targets, replacement=True), running)

    def child_probabilities(self, level: int, running: Tensor, children: ChildLogProbs) -> Tensor:
        """The teacher's conditional over the children of nodes at a level: [B, T, K], zero where there is no child."""
        starts = self._child_starts[level]
        flat = children.nodes.flatten(1).long().clamp(max=len(starts) - 2)  # what does not exist is masked below
        mass = running.gather(1, starts[flat + 1]) - running.gather(1, starts[flat])
        mass = mass.view_as(children.nodes).clamp(min=0) * children.exists
        return (mass / mass.sum(-1, keepdim=True).clamp(min=1e-12)).float()
