"""The whole trie-constrained beam search as one graph: encode once, write level after level, rescore, sort.

No Python runs between steps and no control flow is exported; the trie and the item vectors are inputs, so a new
catalogue needs no new export. Beam width and the widest node of each level enter as the *lengths* of small index
inputs, so one file serves every tier.

Letters: B = batch, W = beam width, K = widest node of a level, M = padded number of dead nodes of a level,
F = columns of an item vector, N = items.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.attention import NEGATIVE
from model.generator import Cache, Generator, Memory
from model.trie_softmax import TrieLevel, child_log_probs

ALIVE_FLOOR = NEGATIVE / 2
"""Sums of log-probabilities above this are real; below, a dead or padded candidate was chosen."""


class Beams(NamedTuple):
    """W partial Rec-IDs per request: node number, token written last, log-probability so far, liveness. All [B, W]."""

    nodes: Tensor
    tokens: Tensor
    log_probs: Tensor
    alive: Tensor


class BeamDecoder(nn.Module):
    """Beam search over the Rec-IDs of one catalogue (design, section 4), ready for export.

    Args:
        generator: the trained generator.
        dense_weight: factor of the dense term in `score`.
    """

    dense_weight: Tensor

    def __init__(self, generator: Generator, dense_weight: float) -> None:
        super().__init__()
        self.generator = generator
        self.register_buffer("dense_weight", torch.tensor(dense_weight))

    def forward(
        self,
        history: Tensor,
        beam_slots: Tensor,
        item_vectors: Tensor,
        leaf_to_row: Tensor,
        dead: tuple[Tensor, ...],
        levels: tuple[TrieLevel, ...],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decode a batch.

        Args:
            history: int64 [B, H], item rows, newest first, -1 = empty slot.
            beam_slots: int64 [W] = 0 .. W - 1; its length is the beam width.
            item_vectors: [N, F].
            leaf_to_row: int [N].
            dead: for every level int64 [B, M, 2]: (node, index among its children) of children that may not be
                entered, padded with node -1.
            levels: the trie arrays of every level.

        Returns:
            leaf positions int64 [B, W] (-1 = dead slot), `log_prob` [B, W] and `score` [B, W], best score first.
        """
        mask = history >= 0
        vectors = item_vectors[history.clamp(min=0)]
        memory = self.generator.encode(vectors, mask)
        beams, cache = self._first_level(memory, beam_slots, dead[0], levels[0])
        for number in range(1, self.generator.num_levels):
            logits, cache = self.generator.step(number, beams.tokens, memory, cache)
            beams, parents = _advance(beams, logits, beam_slots, dead[number], levels[number])
            cache = _follow(cache, parents)
        return self._rescore(beams, memory.state, item_vectors, leaf_to_row)

    def _first_level(self, memory: Memory, beam_slots: Tensor, dead: Tensor, level: TrieLevel) -> tuple[Beams, Cache]:
        logits, cache = self.generator.step(0, None, memory, None)
        zeros = torch.zeros_like(logits[:, :, 0], dtype=torch.long)
        root = Beams(zeros, zeros, torch.zeros_like(logits[:, :, 0]), zeros == 0)
        beams, parents = _advance(root, logits, beam_slots, dead, level)
        return beams, _follow(cache, parents)

    def _rescore(
        self, beams: Beams, state: Tensor, item_vectors: Tensor, leaf_to_row: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        rows = leaf_to_row[beams.nodes].long()
        keys = self.generator.item_keys(item_vectors[rows])  # (B, W, F)
        dense = (keys @ state.unsqueeze(-1)).squeeze(-1) * self.generator.dense_scale.exp()
        score = (beams.log_probs + self.dense_weight * dense).masked_fill(~beams.alive, 2 * NEGATIVE)
        score, order = score.sort(dim=-1, descending=True)
        leaves = beams.nodes.masked_fill(~beams.alive, -1).gather(-1, order)
        return leaves, beams.log_probs.gather(-1, order), score


def _advance(beams: Beams, logits: Tensor, beam_slots: Tensor, dead: Tensor, level: TrieLevel) -> tuple[Beams, Tensor]:
    """The W best children of all beams, and which beam each came from (int64 [B, W])."""
    children = child_log_probs(logits, beams.nodes, level)
    totals = (beams.log_probs.unsqueeze(-1) + children.log_probs).masked_fill(~children.exists, NEGATIVE)
    totals = totals.masked_fill(~beams.alive.unsqueeze(-1), NEGATIVE)
    totals = totals.flatten(1).masked_fill(_dead_children(beams, dead, level), NEGATIVE)
    # TopK fails when k exceeds the axis: W candidates that are dead from the start stand behind the real ones.
    padding = torch.full_like(beam_slots, NEGATIVE, dtype=totals.dtype).expand(totals.shape[0], -1)
    log_probs, chosen = torch.cat([totals, padding], dim=-1).topk(beam_slots.shape[0], dim=-1)
    alive = log_probs > ALIVE_FLOOR
    chosen = chosen.masked_fill(~alive, 0)
    parents = chosen // level.slots.shape[0]
    nodes = children.nodes.flatten(1).gather(-1, chosen)
    return Beams(nodes, level.tokens[nodes].long(), log_probs, alive), parents


def _dead_children(beams: Beams, dead: Tensor, level: TrieLevel) -> Tensor:
    """Mask bool [B, W · K] of the children that a request's exclusions have killed.

    Every dead child finds the beam that stands on its parent by comparison (M · W), so the cost follows the number of
    exclusions and never the catalogue.
    """
    num_beams, width = beams.nodes.shape[1], level.slots.shape[0]
    standing = beams.nodes.masked_fill(~beams.alive, -2)
    on_parent = dead[:, :, :1] == standing.unsqueeze(1)  # (B, M, W); at most one True per row
    beam_number = torch.arange(1, num_beams + 1, device=dead.device, dtype=torch.float32)
    found = (on_parent.float() @ beam_number).long()  # (B, M), 0 = no beam stands there
    outside = num_beams * width
    position = torch.where(found > 0, (found - 1) * width + dead[:, :, 1], outside)
    empty = torch.zeros(dead.shape[0], 1, device=dead.device).expand(-1, outside + 1)
    return empty.scatter(1, position, 1.0)[:, :outside] > 0


def _follow(cache: Cache, parents: Tensor) -> Cache:
    """Reorder the cached prefix positions [B, W, ...] so that every beam has those of the beam that it came from."""
    batch, num_before = cache[0][0].shape[0], cache[0][0].shape[1]
    flat = (torch.arange(batch, device=parents.device).unsqueeze(1) * num_before + parents).flatten()

    def pick(tensor: Tensor) -> Tensor:
        return tensor.flatten(0, 1).index_select(0, flat).unflatten(0, (batch, -1))

    return tuple((pick(keys), pick(values)) for keys, values in cache)
