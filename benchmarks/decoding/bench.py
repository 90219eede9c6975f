"""What the measurements of one run share: the plan, the graphs, and the decoders of catalogues of several sizes."""

import gc
import sys
import time
from dataclasses import dataclass
from itertools import cycle
from typing import NamedTuple

import numpy as np

from benchmarks.decoding.catalogue import Catalogue, Int64Array, make_catalogue
from benchmarks.decoding.graphs import Graphs
from benchmarks.decoding.subject import SETTINGS
from benchmarks.decoding.timing import GemmRate, Method
from offline.precision import to_int8
from service.constraints import ItemFilter
from service.decoder import BeamDecoder

HISTORY = 20
BEAMS = 20
MANY_HISTORIES = 4096
"""Different histories that take turns, so that a large catalogue's vectors do not come from the caches."""
CALIBRATION = 256
"""Histories that the scales of int8 are taken from."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured.

    Attributes:
        turns: of every method in a comparison.
        turn_seconds: length of a turn.
        grid: (batch, beams) of the latency grid.
        catalogue_sizes: catalogues compared at batch 1.
        retrieval_sizes: catalogues on which embed-and-retrieve is timed.
        most_in_hnsw: the largest of these with an HNSW index; a million items take one core minutes.
    """

    turns: int
    turn_seconds: float
    grid: tuple[tuple[int, int], ...]
    catalogue_sizes: tuple[int, ...]
    retrieval_sizes: tuple[int, ...] = (10_000, 30_000, 100_000, 300_000, 1_000_000)
    most_in_hnsw: int


QUICK = Plan(
    turns=7,
    turn_seconds=0.04,
    grid=((1, 20), (8, 20), (32, 20), (1, 10), (1, 50), (1, 200)),
    catalogue_sizes=(10_000, 100_000, 1_000_000),
    most_in_hnsw=10_000,
)
FULL = Plan(
    turns=25,
    turn_seconds=0.1,
    grid=tuple((batch, beams) for beams in (20, 10, 50, 200) for batch in (1, 8, 32, 128)),
    catalogue_sizes=(10_000, 100_000, 1_000_000, 10_000_000),
    most_in_hnsw=100_000,
)


class Served(NamedTuple):
    """A catalogue and the decoder that answers from it."""

    catalogue: Catalogue
    decoder: BeamDecoder

    def method(
        self, batches: list[Int64Array], beam_width: int = BEAMS, filters: list[ItemFilter] | None = None
    ) -> Method:
        """A call that answers the next batch of histories [B, H], each time with the next of the filters."""
        histories = cycle([list(batch) for batch in batches])
        each = cycle([[one] * len(batches[0]) for one in filters or [ItemFilter()]])
        return lambda: self.decoder.decode(next(histories), next(each), beam_width=beam_width)


class Bench:
    """One run.

    Args:
        seed: of catalogues, histories and weights.
        plan: how much is measured.
        graphs: the exported model.
        catalogues: what is made already, by size.
    """

    def __init__(self, seed: int, plan: Plan, graphs: Graphs, catalogues: dict[int, Catalogue]) -> None:
        gc.collect()
        gc.freeze()  # else collections walk the millions of objects of a dict trie, in whoever's turn they fall
        self.seed = seed
        self.plan = plan
        self.graphs = graphs
        self.gemm = GemmRate()
        self.rng = np.random.default_rng((seed, 1))
        self._catalogues = catalogues
        self._served: dict[int, Served] = {}

    def served(self, num_items: int) -> Served:
        """The decoder of a catalogue of this size, made once."""
        if num_items not in self._served:
            catalogue = self._catalogues.get(num_items) or make_catalogue(num_items, self.seed)
            self._served[num_items] = Served(catalogue, _open(self.graphs.decoder, catalogue))
        return self._served[num_items]

    def served_int8(self, num_items: int) -> Served:
        """The same with int8 weights and activations, their scales taken from histories of their own."""
        exact = self.served(num_items)
        histories = list(np.random.default_rng((self.seed, 2)).integers(num_items, size=(CALIBRATION, HISTORY)))
        return Served(exact.catalogue, _open(to_int8(self.graphs.decoder, exact.decoder, histories), exact.catalogue))

    def batches(self, num_items: int, batch: int) -> list[Int64Array]:
        """Histories drawn from the whole catalogue, [batch, HISTORY] each; an item twice in one is rare and no harm."""
        rows = self.rng.integers(num_items, size=(max(1, MANY_HISTORIES // batch), batch, HISTORY))
        return list(rows)


def _open(onnx: bytes, catalogue: Catalogue) -> BeamDecoder:
    return BeamDecoder(
        onnx,
        trie=catalogue.trie,
        item_vectors=catalogue.item_vectors,
        settings=SETTINGS,
        device="cpu",
        threads=1,
    )


_STARTED = time.perf_counter()


def progress(text: str) -> None:
    """Say on stderr what comes next."""
    print(f"{time.perf_counter() - _STARTED:6.1f} s  {text}", file=sys.stderr, flush=True)
