"""The whole trie-constrained beam search as one graph: encode once, write level after level, rescore, sort.

No Python runs between steps and no control flow is exported; the trie, the item vectors and the tables of filters are
inputs, so a new catalogue needs no new export. Beam width and the widest node of each level enter as the *lengths* of
small index inputs, so one file serves every tier.

Log-probabilities, their sums and scores are float32 whatever the generator's dtype.

Letters: B = batch, W = beam width, K = widest node of a level, M = padded length of a level's node list, C = slots for
filters, F = columns of an item vector, N = items.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.attention import NEGATIVE
from model.generator import Cache, Generator, Memory
from model.trie_softmax import ChildLogProbs, TrieLevel, child_log_probs

ALIVE_FLOOR = NEGATIVE / 2
"""Sums of log-probabilities above this are real; below, a dead or padded candidate was chosen."""


class Constraints(NamedTuple):
    """What a batch may enter, beside the catalogue itself (service.constraints makes it).

    Attributes:
        filter_slots: int64 [B], the filter of each request: a row of the tables in `allowed`.
        only_listed: bool [B, 1]; True: the lists name the only nodes that may be entered, False: those that may not.
        listed: for every level int32 [B, M], node numbers at the depth that the level leads to, padded with -1.
        allowed: for every level bool [C, nodes + K]: does the filter in slot c leave anything below the node?
    """

    filter_slots: Tensor
    only_listed: Tensor
    listed: tuple[Tensor, ...]
    allowed: tuple[Tensor, ...]


class Beams(NamedTuple):
    """W partial Rec-IDs per request, best first: node, token written last, log-probability so far; all [B, W]."""

    nodes: Tensor
    tokens: Tensor
    log_probs: Tensor


class BeamDecoder(nn.Module):
    """Beam search over the Rec-IDs of one catalogue (design, section 4), ready for export.

    Args:
        generator: the trained generator.
        dense_weight: factor of the dense term, a cosine, in `score`.
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
        constraints: Constraints,
        item_vectors: Tensor,
        leaf_to_row: Tensor,
        levels: tuple[TrieLevel, ...],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decode a batch.

        Args:
            history: int64 [B, H], item rows, newest first, -1 = empty slot.
            beam_slots: int64 [W] = 0 .. W - 1; its length is the beam width.
            constraints: filters, exclusions and candidates.
            item_vectors: [N, F].
            leaf_to_row: int32 [N].
            levels: the trie arrays of every level.

        Returns:
            leaf positions int64 [B, W] (-1 = dead slot), `log_prob` [B, W] and `score` [B, W], best score first.
        """
        memory, beams = self._search(history, beam_slots, constraints, item_vectors, levels)
        return self._rescore(beams[-1], memory.state, item_vectors, leaf_to_row)

    def _search(
        self,
        history: Tensor,
        beam_slots: Tensor,
        constraints: Constraints,
        item_vectors: Tensor,
        levels: tuple[TrieLevel, ...],
    ) -> tuple[Memory, list[Beams]]:
        """The encoded histories, and the beams behind every level."""
        memory = self.generator.encode(F.embedding(history.clamp(min=0), item_vectors), history >= 0)
        root = torch.zeros_like(memory.state[:, :1], dtype=history.dtype)  # a history may have no slot at all
        beams, cache = Beams(root, root, torch.zeros_like(memory.state[:, :1], dtype=torch.float32)), None
        found = []
        for number, level in enumerate(levels):
            logits, cache = self.generator.step(number, beams.tokens if number else None, memory, cache)
            beams, parents = _advance(beams, logits.float(), number, level, constraints, beam_slots)
            cache = _follow(cache, parents) if number else cache
            found.append(beams)
        return memory, found

    def _rescore(
        self, beams: Beams, state: Tensor, item_vectors: Tensor, leaf_to_row: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        rows = leaf_to_row.gather(0, beams.nodes.flatten())
        keys = self.generator.item_keys(F.embedding(rows, item_vectors)).view(*beams.nodes.shape, state.shape[-1])
        dense = (keys @ state.unsqueeze(-1)).squeeze(-1).float()
        alive = beams.log_probs > ALIVE_FLOOR
        score = torch.where(alive, beams.log_probs + self.dense_weight * dense, 2 * NEGATIVE)
        score, order = score.sort(dim=-1, descending=True)
        leaves = torch.where(alive, beams.nodes, -1).gather(-1, order)
        return leaves, beams.log_probs.gather(-1, order), score


class ExportedBeamDecoder(BeamDecoder):
    """The same search as it is exported: what it has at hand behind every level are outputs as well.

    They cost nothing where nobody asks for them, and explain an answer where somebody does.
    """

    def forward(  # type: ignore[override]
        self,
        history: Tensor,
        beam_slots: Tensor,
        constraints: Constraints,
        item_vectors: Tensor,
        leaf_to_row: Tensor,
        levels: tuple[TrieLevel, ...],
    ) -> tuple[Tensor, ...]:
        """Decode a batch.

        Returns:
            What `BeamDecoder.forward` returns, then for every level the nodes int64 [B, W] and the log-probabilities
            [B, W] of its beams; a dead one has a log-probability below `ALIVE_FLOOR`.
        """
        memory, beams = self._search(history, beam_slots, constraints, item_vectors, levels)
        by_level = [part for each in beams for part in (each.nodes, each.log_probs)]
        return (*self._rescore(beams[-1], memory.state, item_vectors, leaf_to_row), *by_level)


def _advance(
    beams: Beams, logits: Tensor, number: int, level: TrieLevel, constraints: Constraints, beam_slots: Tensor
) -> tuple[Beams, Tensor]:
    """The W best children of all beams, and the row among [B · W] rows that each came from (int64 [B · W])."""
    batch, width = logits.shape[0], beam_slots.shape[0]
    children = child_log_probs(logits, beams.nodes, level)
    totals = beams.log_probs.unsqueeze(-1) + children.log_probs
    totals = _filter(totals, children, constraints.filter_slots, constraints.allowed[number]).flatten(1)
    # TopK fails when k exceeds the axis: W candidates that are dead from the start stand behind the real ones.
    padding = torch.full_like(beam_slots, NEGATIVE, dtype=totals.dtype).expand(batch, -1)
    totals = torch.cat([totals, padding], dim=-1)
    totals = _apply_list(totals, children, constraints.listed[number], constraints.only_listed, beam_slots)
    log_probs, chosen = totals.topk(width, dim=-1)
    chosen = torch.where(log_probs > ALIVE_FLOOR, chosen, 0)
    # Looked up and not divided: exporters divide whole numbers as floats.
    num_beams, widest = children.nodes.shape[1], children.nodes.shape[2]
    beam_of = beam_slots[:num_beams].unsqueeze(1).expand(-1, widest).flatten()
    parents = beam_of.gather(0, chosen.flatten()).view(-1, width)
    rows = (parents + torch.arange(batch, device=parents.device).unsqueeze(1) * width).flatten()
    nodes = children.nodes.flatten(1).gather(-1, chosen)
    tokens = level.tokens.gather(0, nodes.flatten()).view(-1, width)
    return Beams(nodes, tokens, log_probs), rows


def _filter(totals: Tensor, children: ChildLogProbs, slots: Tensor, allowed: Tensor) -> Tensor:
    """Only children below which the request's filter leaves something: [B, W, K]."""
    at = children.nodes + (slots * allowed.shape[1]).view(-1, 1, 1)
    return torch.where(allowed.flatten().gather(0, at.flatten()).view(totals.shape), totals, NEGATIVE)


def _apply_list(totals: Tensor, children: ChildLogProbs, listed: Tensor, only: Tensor, beam_slots: Tensor) -> Tensor:
    """Close the listed children, or all others where `only` is set.

    Every listed node finds the beam whose children it is among by comparison (M · W), so the cost follows the list and
    never the catalogue. What stands nowhere goes to the first padding slot, which is dead anyway.

    Args:
        totals: [B, W · K + padding].
        children: of the W beams.
        listed: int32 [B, M].
        only: bool [B, 1].
        beam_slots: int64, 0 .. W - 1 and perhaps more.
    """
    num_beams, width = children.nodes.shape[1], children.nodes.shape[2]
    outside = num_beams * width
    wanted = listed.unsqueeze(-1)  # (B, M, 1)
    first, end = children.first.int().transpose(1, 2), children.end.int().transpose(1, 2)  # (B, 1, W)
    # Dead beams stand where a living one does and sort behind it: the smallest number is the living beam's.
    beams = beam_slots[:num_beams].int()
    beam = torch.where((wanted >= first) & (wanted < end), beams, num_beams).amin(-1).long()  # (B, M)
    first_of = children.first.squeeze(-1).gather(1, beam.clamp(max=num_beams - 1))
    position = torch.where(beam < num_beams, beam * width + listed - first_of, outside)
    updates = torch.where(only, totals.gather(1, position), NEGATIVE)
    return torch.where(only, NEGATIVE, totals).scatter(1, position, updates)


def _follow(cache: Cache, rows: Tensor) -> Cache:
    """Every beam takes the positions of the beam that it came from; the start is the same for all."""
    return tuple(
        (positions[0], *((keys.index_select(0, rows), values.index_select(0, rows)) for keys, values in positions[1:]))
        for positions in cache
    )
