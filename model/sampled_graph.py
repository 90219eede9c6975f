"""The graph of a large log, seen from the items of one batch: few neighbours of each, drawn anew at every step.

The whole graph's propagation costs as much as there are interactions, at every step, in time and in memory. Here it
starts from the items that a batch asks for and takes at most `fan_out` neighbours of each row at every hop
(GraphSAGE, arXiv 1706.02216), each standing for `degree / fan_out`: so every hop's sum is right on average, and what
is kept follows the batch. With a fan-out of at least every degree nothing is left out.

Which neighbours a row gets is decided by a hash of row, hop and step and by nothing else: the parts of a batch, in
one process or in several, see the same sample.

Letters: R = item rows asked for, U = users, N = items, D = model width, E = edges of a sample.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from model.graph_encoder import InteractionGraph, ItemVectors, TransitionGraph


class NeighbourSample(NamedTuple):
    """Some neighbours of some rows of a sparse matrix.

    Attributes:
        columns: int64 [E], the neighbours of all rows, one row after the other.
        starts: int64 [R], where each row's begin.
        weights: [E], entries of the matrix, raised by how many neighbours each stands for.
    """

    columns: Tensor
    starts: Tensor
    weights: Tensor

    def sums(self, vectors: Tensor) -> Tensor:
        """Weighted sums of the neighbours' vectors, [R, D] of [columns, D]."""
        return F.embedding_bag(self.columns, vectors, self.starts, mode="sum", per_sample_weights=self.weights)


def sample(matrix: Tensor, rows: Tensor, fan_out: int, seed: int) -> NeighbourSample:
    """At most `fan_out` neighbours of each row, every one as likely as the others; all of them where there are fewer.

    A systematic sample: from a random start, every so many neighbours one. Its chance is `fan_out / degree` for every
    neighbour, and none is drawn twice.

    Args:
        matrix: sparse CSR.
        rows: int64 [R].
        fan_out: at least 1.
        seed: of the draw; a row's sample depends on row and seed alone.
    """
    crow = matrix.crow_indices()
    first = crow[rows].long()
    degree = crow[rows + 1].long() - first
    taken = degree.clamp(max=fan_out)
    starts = taken.cumsum(0) - taken
    owner = torch.repeat_interleave(taken)
    place = torch.arange(len(owner), device=rows.device) - starts[owner]
    stands_for = (degree.double() / taken.clamp(min=1))[owner]
    at = ((place + uniform(rows, seed)[owner]) * stands_for).long().minimum(degree[owner] - 1) + first[owner]
    return NeighbourSample(matrix.col_indices()[at].long(), starts, (matrix.values()[at] * stands_for).to(matrix.dtype))


def uniform(rows: Tensor, seed: int) -> Tensor:
    """A number in [0, 1) for every row, float64, from nothing but row and seed (the finaliser of splitmix64)."""
    mixed = rows * _signed(0x9E3779B97F4A7C15) + _signed(seed * 0xD1B54A32D192ED03)
    mixed = (mixed ^ _shifted(mixed, 30)) * _signed(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ _shifted(mixed, 27)) * _signed(0x94D049BB133111EB)
    return _shifted(mixed ^ _shifted(mixed, 31), 11).double() / 2**53


def _signed(number: int) -> int:
    """The lowest 64 bits as int64 has them."""
    number &= 2**64 - 1
    return number - 2**64 if number >= 2**63 else number


def _shifted(numbers: Tensor, bits: int) -> Tensor:
    """A logical shift to the right; torch's own keeps the sign."""
    return (numbers >> bits) & ((1 << (64 - bits)) - 1)


class SampledGraph(NamedTuple):
    """One step's view of a graph.

    Attributes:
        graph: the whole one.
        rows: int64 [R], the items whose vectors are asked for.
        fan_out: neighbours of a row at each hop, at most.
        seed: of the step.
    """

    graph: InteractionGraph | TransitionGraph
    rows: Tensor
    fan_out: int
    seed: int

    def propagate(self, start: ItemVectors, num_layers: int) -> ItemVectors:
        """Keys and contexts [R, D] of the rows, estimated; see the graphs' own `propagate`."""
        if isinstance(self.graph, TransitionGraph):
            return self._of_transitions(self.graph, start, num_layers)
        return self._of_interactions(self.graph, start, num_layers)

    def _of_transitions(self, graph: TransitionGraph, start: ItemVectors, num_layers: int) -> ItemVectors:
        """A layer's term is reached by as many hops, which lead from keys to contexts and back."""
        keys, contexts = start.keys[self.rows], start.contexts[self.rows]
        for hops in range(1, num_layers + 1):
            source, other = (start.contexts, start.keys) if hops % 2 else (start.keys, start.contexts)
            keys = keys + _along(self._samples(graph.to_later, graph.to_earlier, hops), source)
            contexts = contexts + _along(self._samples(graph.to_earlier, graph.to_later, hops), other)
        return ItemVectors(keys, contexts)

    def _of_interactions(self, graph: InteractionGraph, start: ItemVectors, num_layers: int) -> ItemVectors:
        """Hops lead to users and back to items. Users start as sums of contexts, so that odd layers come from those."""
        terms = [start.keys[self.rows]]
        samples: list[NeighbourSample] = []
        for layer in range(1, num_layers + 1):
            if layer % 2:
                samples = self._samples(graph.to_items, graph.to_users, layer + 1)
            terms.append(_along(samples, start.contexts if layer % 2 else start.keys))
        contexts = sum(terms[:num_layers], start.contexts[self.rows])
        return ItemVectors(sum(terms[1:], terms[0]), contexts * graph.item_scale[self.rows])

    def _samples(self, last: Tensor, before: Tensor, num_hops: int) -> list[NeighbourSample]:
        """Samples of so many hops, the one nearest to the rows first; the two matrices take turns."""
        rows, samples = self.rows, []
        for hop in range(num_hops):
            drawn = sample((last, before)[hop % 2], rows, self.fan_out, self.seed * 64 + 8 * num_hops + hop)
            if hop < num_hops - 1:
                rows, places = drawn.columns.unique(return_inverse=True)
                drawn = drawn._replace(columns=places)
            samples.append(drawn)
        return samples


def _along(samples: list[NeighbourSample], vectors: Tensor) -> Tensor:
    """What reaches the rows [R, D] of the vectors where the last sample ends."""
    for drawn in reversed(samples):
        vectors = drawn.sums(vectors)
    return vectors


class GraphInColumns(NamedTuple):
    """A whole graph that is propagated over a few columns at a time: the same result in less memory, without gradient.

    Attributes:
        graph: the graph.
        num_columns: at a time.
    """

    graph: InteractionGraph | TransitionGraph
    num_columns: int

    @torch.no_grad()
    def propagate(self, start: ItemVectors, num_layers: int) -> ItemVectors:
        """As the graph itself."""
        parts = [
            self.graph.propagate(ItemVectors(keys.contiguous(), contexts.contiguous()), num_layers)
            for keys, contexts in zip(*(vectors.split(self.num_columns, dim=1) for vectors in start), strict=True)
        ]
        return ItemVectors(
            torch.cat([part.keys for part in parts], dim=1), torch.cat([part.contexts for part in parts], dim=1)
        )
