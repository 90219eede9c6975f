"""Embed-and-retrieve with the decoder's own vectors: history state, then the nearest item keys by faiss.

The state is a weighted sum of contexts, so next to nothing stands in front of the search: no Transformer runs.
"""

import time
from itertools import cycle
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import torch

from benchmarks.decoding.catalogue import VECTOR_CHUNK, Catalogue, Int64Array
from benchmarks.decoding.subject import CONFIG
from benchmarks.decoding.timing import Method
from model.generator import Generator
from service.onnx_session import open_session

LINKS = 32
SEARCHED = 64

FloatArray = npt.NDArray[np.float32]


class HistoryEncoder:
    """The history state alone on one thread of onnxruntime, item vectors bound once.

    Args:
        onnx: the exported history state.
        item_vectors: float32 [N, F].
    """

    def __init__(self, onnx: bytes, item_vectors: FloatArray) -> None:
        self._session = open_session(onnx, "cpu", 1)
        self._binding = self._session.io_binding()
        self._vectors = ort.OrtValue.ortvalue_from_numpy(item_vectors)
        self._binding.bind_ortvalue_input("item_vectors", self._vectors)

    def states(self, histories: Int64Array) -> FloatArray:
        """History states [B, F / 2] of item rows [B, H]."""
        self._binding.bind_cpu_input("history", histories)
        self._binding.bind_output("state", "cpu")
        self._session.run_with_iobinding(self._binding)
        states: FloatArray = self._binding.copy_outputs_to_cpu()[0]
        return states


@torch.no_grad()
def item_keys(generator: Generator, catalogue: Catalogue) -> FloatArray:
    """What the dense term compares a history state with: float32 [N, F / 2]."""
    keys = np.empty((catalogue.num_items, CONFIG.vector_dim // 2), np.float32)
    for first in range(0, len(keys), VECTOR_CHUNK):
        rows = slice(first, first + VECTOR_CHUNK)
        keys[rows] = generator.item_keys(torch.from_numpy(catalogue.item_vectors[rows])).numpy()
    return keys


class Indexes:
    """The item keys of a catalogue in faiss, by inner product.

    Args:
        generator: makes the keys.
        catalogue: the items.
        with_hnsw: whether to build the approximate index, too.

    Attributes:
        flat: exact.
        hnsw: approximate, or None.
        hnsw_seconds: what building it took one thread.
    """

    def __init__(self, generator: Generator, catalogue: Catalogue, *, with_hnsw: bool) -> None:
        keys = item_keys(generator, catalogue)
        self.flat: Any = faiss.IndexFlatIP(CONFIG.vector_dim // 2)
        self.flat.add(keys)
        self.hnsw: Any = None
        if with_hnsw:
            self.hnsw = faiss.IndexHNSWFlat(CONFIG.vector_dim // 2, LINKS, faiss.METRIC_INNER_PRODUCT)
            self.hnsw.hnsw.efSearch = SEARCHED
            started = time.perf_counter()
            self.hnsw.add(keys)
            self.hnsw_seconds = time.perf_counter() - started


def retrieval_method(encoder: HistoryEncoder, index: Any, batches: list[Int64Array], count: int) -> Method:
    """A call that answers the next batch of histories with the `count` nearest items."""
    stream = cycle(batches)
    return lambda: index.search(encoder.states(next(stream)), count)


def overlap(index: Any, exact: Any, states: FloatArray, count: int) -> float:
    """Recall: the share of the exact index's `count` nearest items that the other index finds."""
    found, nearest = (each.search(states, count)[1] for each in (index, exact))
    return float(np.mean([np.isin(*pair).mean() for pair in zip(nearest, found, strict=True)]))
