"""The model under test, its two ONNX graphs, and a cache of them.

One export of the beam search serves every catalogue and beam width, and takes about 20 seconds; so the graphs are kept
under the user's cache folder by a hash of everything that they are made from.
"""

import contextlib
import hashlib
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional as F

from benchmarks.decoding.catalogue import make_catalogue
from benchmarks.decoding.subject import SETTINGS, seeded_generator
from model.generator import Generator
from offline.export import OPSET, export_decoder

EXAMPLE_ITEMS = 2_000
ROOT = Path(__file__).parents[2]
SOURCES = (
    "benchmarks/decoding/subject.py",
    "model/*.py",
    "offline/export.py",
    "offline/trie_tensors.py",
    "service/contract/*.py",
)


class Graphs(NamedTuple):
    """ONNX files: the whole beam search, and the history state alone.

    Attributes:
        decoder: what the service runs.
        encoder: `history` and `item_vectors` to `state`, for embed-and-retrieve.
        export_seconds: None when both came from the cache.
    """

    decoder: bytes
    encoder: bytes
    export_seconds: float | None


class PendingGraphs:
    """Graphs from the cache, or exports that go on in processes of their own until `wait`."""

    def __init__(self, seed: int) -> None:
        self._started = time.perf_counter()
        self._paths = [_cache_path(name, seed) for name in ("decoder", "encoder")]
        self._pool: ProcessPoolExecutor | None = None
        self._exports: list[Future[None]] = []
        if not all(path.exists() for path in self._paths):
            self._pool = ProcessPoolExecutor(2, mp_context=get_context("spawn"))
            jobs = zip((_beam_search, _history_state), self._paths, strict=True)
            self._exports = [self._pool.submit(_export, make, path, seed) for make, path in jobs]

    def wait(self) -> Graphs:
        """Both graphs."""
        for export in self._exports:
            export.result()
        if self._pool:
            self._pool.shutdown()
        seconds = time.perf_counter() - self._started if self._exports else None
        decoder, encoder = (path.read_bytes() for path in self._paths)
        return Graphs(decoder, encoder, seconds)


def _cache_path(name: str, seed: int) -> Path:
    digest = hashlib.sha256(f"{torch.__version__} {onnx.__version__} {seed}".encode())
    for source in (Path(__file__), *(path for pattern in SOURCES for path in sorted(ROOT.glob(pattern)))):
        digest.update(source.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmgrec-bench"
    return cache / f"{name}-{digest.hexdigest()[:16]}.onnx"


def _export(make: Callable[[int], bytes], path: Path, seed: int) -> None:
    torch.set_num_threads(1)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the one JSON object
        unfinished.write_bytes(make(seed))
    unfinished.replace(path)


def _beam_search(seed: int) -> bytes:
    example = make_catalogue(EXAMPLE_ITEMS, seed)
    return export_decoder(
        seeded_generator(seed), example.trie, torch.from_numpy(example.item_vectors), SETTINGS.dense_weight
    )


class _HistoryState(nn.Module):
    """The front of the decoder: item rows to the history state."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, history: Tensor, item_vectors: Tensor) -> Tensor:
        """int64 [B, H] with -1 for an empty slot, [N, F] to [B, F / 2], unit norm."""
        return self.generator.encode(F.embedding(history.clamp(min=0), item_vectors), history >= 0).state


def _history_state(seed: int) -> bytes:
    example = (torch.zeros(2, 3, dtype=torch.long), torch.zeros(EXAMPLE_ITEMS, SETTINGS.vector_dim))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _HistoryState(seeded_generator(seed)).eval(),
            example,
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=({0: Dim.AUTO, 1: Dim.AUTO}, {0: Dim.AUTO}),
            input_names=["history", "item_vectors"],
            output_names=["state"],
            verbose=False,
        )
    assert program is not None
    return bytes(program.model_proto.SerializeToString())
