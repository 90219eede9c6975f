"""The comparisons over catalogues of different sizes, batch 1: with itself, and with embed-and-retrieve."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.decoding.bench import BEAMS, Bench, progress
from benchmarks.decoding.retrieval import (
    LINKS,
    SEARCHED,
    HistoryEncoder,
    Indexes,
    overlap,
    retrieval_method,
)
from benchmarks.decoding.subject import SETTINGS
from benchmarks.decoding.timing import alternate
from service.contract.trie import build_trie

RECALL_QUERIES = 256

Figures = dict[str, Any]


def size_name(num_items: int) -> str:
    """10k, 1m."""
    return f"{num_items // 1_000_000}m" if num_items >= 1_000_000 else f"{num_items // 1_000}k"


def over_catalogues(bench: Bench) -> Figures:
    """Latency by catalogue, and each over the smallest."""
    sizes = bench.plan.catalogue_sizes
    served = {size_name(size): bench.served(size) for size in sizes}
    progress(f"decoder, catalogues of {', '.join(served)}")
    methods = {name: served[name].method(bench.batches(size, 1)) for name, size in zip(served, sizes, strict=True)}
    timings = alternate(methods, turns=3 * bench.plan.turns, turn_seconds=bench.plan.turn_seconds)
    smallest = timings[size_name(sizes[0])]
    return {
        name: served[name].catalogue.facts() | timing.summary() | {"over_smallest": round(timing.over(smallest), 4)}
        for name, timing in timings.items()
    }


def trie_costs(bench: Bench) -> Figures:
    """Seconds to build the trie of the large catalogues, and its size."""
    costs = {}
    for size in bench.plan.catalogue_sizes:
        if size < 1_000_000:
            continue
        progress(f"trie of {size_name(size)}")
        catalogue = bench.served(size).catalogue
        seconds = []
        for _ in range(3):
            started = time.perf_counter()
            build_trie(catalogue.rec_ids, SETTINGS.space)
            seconds.append(time.perf_counter() - started)
        megabytes = catalogue.trie.num_bytes / 1e6
        costs[size_name(size)] = {"seconds": round(float(np.median(seconds)), 3), "megabytes": round(megabytes, 2)}
    return costs


def against_retrieval(bench: Bench, indexes: Mapping[int, Indexes]) -> Figures:
    """The decoder, exact and approximate retrieval at every size that has indexes."""
    figures: Figures = {"links": LINKS, "searched": SEARCHED, "most_items_in_hnsw": bench.plan.most_in_hnsw}
    sizes: dict[str, Figures] = {}
    for size, index in indexes.items():
        progress(f"decoder and embed-and-retrieve, {size_name(size)}")
        served, batches = bench.served(size), bench.batches(size, 1)
        encoder = HistoryEncoder(bench.graphs.encoder, served.catalogue.item_vectors)
        methods = {"decoder": served.method(batches), "flat": retrieval_method(encoder, index.flat, batches, BEAMS)}
        facts: Figures = {"items": size}
        if index.hnsw is not None:
            methods["hnsw"] = retrieval_method(encoder, index.hnsw, batches, BEAMS)
            queries = encoder.states(np.concatenate(batches[:RECALL_QUERIES]))
            facts["hnsw_recall"] = round(overlap(index.hnsw, index.flat, queries, BEAMS), 4)
            facts["hnsw_build_seconds"] = round(index.hnsw_seconds, 2)
        timings = alternate(methods, turns=bench.plan.turns, turn_seconds=bench.plan.turn_seconds)
        facts["flat_over_decoder"] = round(timings["flat"].over(timings["decoder"]), 4)
        sizes[size_name(size)] = facts | {name: timing.summary() for name, timing in timings.items()}
    figures["sizes"] = sizes
    return figures


def crossover(sizes: Sequence[int], ratios: Sequence[float]) -> int | None:
    """The smallest catalogue from which on the decoder is faster, between the measured sizes by a line in log-log.

    Args:
        sizes: measured catalogues, rising.
        ratios: time of retrieval over time of the decoder at each.

    Returns:
        The smallest size when the decoder is faster at every one; None when it is slower at the largest.
    """
    if ratios[-1] < 1:
        return None
    slower = [place for place, ratio in enumerate(ratios) if ratio < 1]
    if not slower:
        return sizes[0]
    last = slower[-1]
    below, above = math.log(ratios[last]), math.log(ratios[last + 1])
    share = below / (below - above)
    return round(math.exp(math.log(sizes[last]) * (1 - share) + math.log(sizes[last + 1]) * share))
