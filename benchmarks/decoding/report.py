"""All measurements of one run as one JSON object."""

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import faiss
import torch

from benchmarks.decoding.bars import judge
from benchmarks.decoding.bench import BEAMS, FULL, HISTORY, QUICK, Bench, progress
from benchmarks.decoding.catalogue import BUCKET_BOUND, ZIPF, make_catalogue
from benchmarks.decoding.catalogue_sizes import (
    against_retrieval,
    crossover,
    over_catalogues,
    trie_costs,
)
from benchmarks.decoding.floor import multiply_adds
from benchmarks.decoding.graphs import PendingGraphs
from benchmarks.decoding.measurements import ITEMS, GenerateBaselines, against_generate, over_shapes, with_filters
from benchmarks.decoding.retrieval import Indexes
from benchmarks.decoding.subject import CONFIG, seeded_generator

PACKAGES = ("faiss-cpu", "numpy", "onnxruntime-gpu", "onnxruntime", "torch", "transformers")

Figures = dict[str, Any]


def run(seed: int, quick: bool) -> Figures:
    """Measure everything."""
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    faiss.omp_set_num_threads(1)
    plan, load = (QUICK if quick else FULL), os.getloadavg()
    progress("exporting the model, unless it is cached; making catalogues and indexes")
    pending = PendingGraphs(seed)
    sizes = {ITEMS, *plan.retrieval_sizes, *plan.catalogue_sizes}
    catalogues = {size: make_catalogue(size, seed) for size in sorted(sizes) if size <= 1_000_000}
    baselines = GenerateBaselines(catalogues[ITEMS], seed)
    generator = seeded_generator(seed)
    indexes = {
        size: Indexes(generator, catalogues[size], with_hnsw=size <= plan.most_in_hnsw) for size in plan.retrieval_sizes
    }
    progress("waiting for the export")
    bench = Bench(seed, plan, pending.wait(), catalogues)
    details = {
        "generate": against_generate(bench, baselines),
        "shapes": over_shapes(bench),
        "filters": with_filters(bench),
        "retrieval": against_retrieval(bench, indexes),
        "catalogues": over_catalogues(bench),
        "trie": trie_costs(bench),
        "setting": _setting(bench),
    }
    report = _headline(details) | {"details": details, "machine": machine(load), "seed": seed, "quick": quick}
    return {"benchmark": "decode", "bars": judge(report), **report}


def _headline(details: Figures) -> Figures:
    shapes, catalogues, retrieval = details["shapes"], details["catalogues"], details["retrieval"]["sizes"]
    measured = list(retrieval.values())
    ratios = {
        f"catalogue_{name}_over_10k": catalogues[name]["over_smallest"] for name in ("1m", "10m") if name in catalogues
    }
    return {
        "speedup_over_generate": {batch: details["generate"][batch]["speedup"]["generate"] for batch in ("1", "8")},
        "over_floor": {batch: shapes[f"batch {batch}, {BEAMS} beams"]["over_floor"] for batch in ("1", "32")},
        **ratios,
        "filter_overhead": details["filters"]["overhead"]["category_and_exclusions"],
        "flat_crossover_items": crossover(
            [each["items"] for each in measured], [each["flat_over_decoder"] for each in measured]
        ),
        "trie": details["trie"],
    }


def _setting(bench: Bench) -> Figures:
    return {
        "history": HISTORY,
        "beams": BEAMS,
        "threads": 1,
        "bucket_bound": BUCKET_BOUND,
        "zipf_exponent": ZIPF,
        "multiply_adds": multiply_adds(CONFIG, history=HISTORY, beam_width=BEAMS),
        "gemm": bench.gemm.summary(),
        "export_seconds": bench.graphs.export_seconds,
    }


def machine(load_before: tuple[float, float, float]) -> Figures:
    """Processor, versions, and how busy the machine was; this process alone makes a load of 1."""
    installed = {name.lower(): version for name, version in _versions().items()}
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load_average": {"before": load_before, "after": os.getloadavg()},
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: installed[name] for name in PACKAGES if name in installed},
    }


def _versions() -> dict[str, str]:
    return {each.metadata["Name"]: each.version for each in metadata.distributions()}


def _cpu_model() -> str:
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()
