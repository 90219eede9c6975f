"""The comparisons at a fixed catalogue: against `generate`, against the floor, over shapes, with filters."""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.decoding.bench import BEAMS, HISTORY, Bench, Served, progress
from benchmarks.decoding.catalogue import Catalogue, Int64Array
from benchmarks.decoding.floor import multiply_adds
from benchmarks.decoding.generate import T5Generator, matching_feedforward_dim, num_parameters
from benchmarks.decoding.subject import CONFIG, seeded_generator
from benchmarks.decoding.timing import alternate
from offline.precision import overlap
from service.constraints import ItemFilter
from service.contract.allowed_nodes import AllowedNodes, BoolArray
from service.contract.decoder_graph import listed_name

ITEMS = 100_000
CATEGORY_SHARE = 0.3
EXCLUSIONS = 200
CANDIDATES = 1_000
FILTERS_IN_TURN = 32

Figures = dict[str, Any]


class GenerateBaselines:
    """T5 of as many parameters as the generator, and of its feed-forward width; made before anything is timed."""

    def __init__(self, catalogue: Catalogue, seed: int) -> None:
        self.parameters = num_parameters(seeded_generator(seed))
        self.matched = matching_feedforward_dim(self.parameters)
        self.equal_size = T5Generator(catalogue, self.matched, seed)
        self.equal_width = T5Generator(catalogue, CONFIG.feedforward_dim, seed)

    def facts(self) -> Figures:
        """The sizes of the models."""
        return {
            "items": ITEMS,
            "parameters": {
                "decoder": self.parameters,
                "generate": num_parameters(self.equal_size.model),
                "generate_same_d_ff": num_parameters(self.equal_width.model),
            },
            "d_ff": {"generate": self.matched, "generate_same_d_ff": CONFIG.feedforward_dim},
        }


def against_generate(bench: Bench, baselines: GenerateBaselines) -> Figures:
    """How many times faster than `generate`, batch 1 and 8; int8 stands beside, no bar is held against it."""
    served, int8, figures = bench.served(ITEMS), bench.served_int8(ITEMS), baselines.facts()
    for batch in (1, 8):
        progress(f"decoder and generate, batch {batch}")
        batches = bench.batches(ITEMS, batch)
        methods = {
            "decoder": served.method(batches),
            "decoder_int8": int8.method(batches),
            "generate": baselines.equal_size.method(batches, BEAMS),
            "generate_80_tokens": baselines.equal_size.method(batches, BEAMS, as_tokens=True),
            "generate_same_d_ff": baselines.equal_width.method(batches, BEAMS),
        }
        timings = alternate(methods, turns=bench.plan.turns, turn_seconds=bench.plan.turn_seconds)
        figures[str(batch)] = {name: timing.summary() for name, timing in timings.items()}
        for of, name in (("decoder", "speedup"), ("decoder_int8", "speedup_int8")):
            figures[str(batch)][name] = {
                other: round(timing.over(timings[of]), 3) for other, timing in timings.items() if other != of
            }
    figures["int8_overlap@20_untrained"] = overlap(served.decoder, int8.decoder, list(bench.batches(ITEMS, 256)[0]))
    return figures


def over_shapes(bench: Bench) -> Figures:
    """Latency by batch and beam width, each over its floor; the rate of a matrix product is taken between the turns."""
    progress("decoder, batches and beam widths")
    served, figures = bench.served(ITEMS), {}
    shapes = {f"batch {batch}, {beams} beams": (batch, beams) for batch, beams in bench.plan.grid}
    methods = {name: served.method(bench.batches(ITEMS, batch), beams) for name, (batch, beams) in shapes.items()}
    timings = alternate(
        methods, turns=bench.plan.turns, turn_seconds=bench.plan.turn_seconds, between=bench.gemm.measure
    )
    for name, (batch, beams) in shapes.items():
        floor = batch * multiply_adds(CONFIG, history=HISTORY, beam_width=beams)["total"] / bench.gemm.best
        over_floor = {"floor_ms": round(floor * 1e3, 4), "over_floor": round(timings[name].median_seconds / floor, 3)}
        figures[name] = timings[name].summary() | over_floor
    return figures


def with_filters(bench: Bench) -> Figures:
    """What filters cost at batch 1, as fractions of the time without."""
    progress("filters")
    served = bench.served(ITEMS)
    trie, rng = served.catalogue.trie, bench.rng
    allowed = AllowedNodes.of(trie, rng.random(ITEMS) < CATEGORY_SHARE)
    everything = np.ones(ITEMS, bool)
    makers: dict[str, Callable[[], ItemFilter]] = {
        "nothing": ItemFilter,
        "category_and_exclusions": lambda: ItemFilter(
            excluded=closing_exclusions(served, allowed.leaves, rng), allowed=allowed
        ),
        "category": lambda: ItemFilter(allowed=allowed),
        "exclusions": lambda: ItemFilter(excluded=closing_exclusions(served, everything, rng)),
        "scattered_exclusions": lambda: ItemFilter(excluded=rng.choice(ITEMS, EXCLUSIONS, replace=False)),
        "candidates": lambda: ItemFilter(candidates=rng.choice(ITEMS, CANDIDATES, replace=False)),
    }
    filters = {name: [make() for _ in range(FILTERS_IN_TURN)] for name, make in makers.items()}
    for name in ("category_and_exclusions", "exclusions"):
        assert all(np.count_nonzero(_listed(served, one)) >= 3 for one in filters[name]), (
            "too few levels have dead nodes"
        )
    batches = bench.batches(ITEMS, 1)
    methods = {name: served.method(batches, filters=each) for name, each in filters.items()}
    timings = alternate(methods, turns=2 * bench.plan.turns, turn_seconds=bench.plan.turn_seconds)
    return {
        "items": ITEMS,
        "category_share": CATEGORY_SHARE,
        "exclusions": EXCLUSIONS,
        "candidates": CANDIDATES,
        "overhead": {name: round(timing.over(timings["nothing"]) - 1, 4) for name, timing in timings.items()},
        "latency": {name: timing.summary() for name, timing in timings.items()},
        "listed_by_level": {name: _listed(served, each[0]) for name, each in filters.items()},
    }


def closing_exclusions(served: Served, legal: BoolArray, rng: np.random.Generator) -> Int64Array:
    """`EXCLUSIONS` item rows, all legal before, that close nodes at every level.

    All of the first-level subtree with the fewest legal items, of small subtrees of the second level and of buckets,
    and scattered items for the rest.

    Args:
        served: the catalogue.
        legal: which leaf positions may be answered otherwise.
        rng: which small subtrees.
    """
    trie = served.catalogue.trie
    running = np.concatenate(([0], np.cumsum(legal)))
    chosen = np.zeros(len(legal), bool)
    for starts, subtrees in zip(trie.leaf_starts()[1:-1], (1, 5, 10), strict=True):
        below = np.diff(running[starts])
        small = np.flatnonzero((below >= 2) & (below <= 5))
        nodes = rng.permutation(small)[:subtrees] if len(small) >= subtrees else below.argsort()[:subtrees]
        for node in nodes:
            chosen[starts[node] : starts[node + 1]] = True
    leaves = np.flatnonzero(chosen & legal)
    others = np.flatnonzero(~chosen & legal)
    assert len(leaves) <= EXCLUSIONS, f"the smallest subtrees hold {len(leaves)} items"
    leaves = np.append(leaves, rng.choice(others, EXCLUSIONS - len(leaves), replace=False))
    return trie.leaf_to_row[leaves].astype(np.int64)


def _listed(served: Served, one: ItemFilter) -> list[int]:
    """How many nodes of each level the request's lists name."""
    inputs = served.decoder.inputs([np.zeros(1, np.int64)], [one], BEAMS)
    return [int((inputs[listed_name(level)] >= 0).sum()) for level in range(served.catalogue.trie.num_levels)]
