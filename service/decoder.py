"""The beam decoder on onnxruntime: one session, one `run` per batch, the catalogue bound once on the device.

The service and `offline evaluate` use this same class, so what is scored is what is served. It owns the names of the
graph's inputs and outputs; `offline.export` gives them to the graph.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from service.contract.dead_nodes import DeadNodeFinder, pad_dead_nodes
from service.contract.manifest import ModelSettings
from service.contract.trie import Trie
from service.cuda import cuda_device_present

Int64Array = npt.NDArray[np.int64]
Device = Literal["auto", "cpu", "cuda"]

HISTORY, BEAM_SLOTS, ITEM_VECTORS, LEAF_TO_ROW = "history", "beam_slots", "item_vectors", "leaf_to_row"
OUTPUT_NAMES = ("leaves", "log_prob", "score")


class DecoderError(RuntimeError):
    """A decoder that cannot be built as asked: no such device, or a graph that does not fit the release."""


class Decoded(NamedTuple):
    """Answers of a batch, best score first.

    Attributes:
        leaves: int64 [batch, beam_width], leaf positions; -1 is a dead slot and never an item.
        log_prob: float32 [batch, beam_width], sum of the token log-probabilities.
        score: float32 [batch, beam_width], `log_prob` plus the weighted dense term: what the answer is ordered by.
    """

    leaves: Int64Array
    log_prob: npt.NDArray[np.float32]
    score: npt.NDArray[np.float32]


def dead_name(level: int) -> str:
    """Graph input with the dead children of a level."""
    return f"dead_{level}"


def trie_names(level: int) -> tuple[str, str, str]:
    """Graph inputs with a level's child starts, tokens and child slots."""
    return f"child_start_{level}", f"tokens_{level}", f"child_slots_{level}"


def input_names(num_levels: int) -> list[str]:
    """All graph inputs in the order in which the exported module takes them."""
    dead = [dead_name(level) for level in range(num_levels)]
    trie = [name for level in range(num_levels) for name in trie_names(level)]
    return [HISTORY, BEAM_SLOTS, ITEM_VECTORS, LEAF_TO_ROW, *dead, *trie]


def pad_histories(histories: Sequence[Int64Array], max_history: int) -> Int64Array:
    """Histories as the graph takes them.

    Args:
        histories: item rows of each request, oldest first.
        max_history: how many of the most recent items are kept.

    Returns:
        int64 [batch, longest], newest first, -1 behind the last.
    """
    kept = [rows[::-1][:max_history] for rows in histories]
    padded = np.full((len(kept), max(map(len, kept))), -1, np.int64)
    for row, items in enumerate(kept):
        padded[row, : len(items)] = items
    return padded


class BeamDecoder:
    """Trie-constrained beam search for batches of histories.

    Not safe for concurrent calls: one inference thread per device owns it.

    Args:
        onnx: the exported graph.
        trie: the catalogue's Rec-IDs.
        item_vectors: float32 [num_items, vector_dim], in item-row order.
        settings: the release's model settings.
        device: "auto" takes CUDA when there is a device, else the CPU.
        threads: CPU threads of one run.

    Raises:
        DecoderError: CUDA is asked for and the session would run elsewhere, or the graph does not fit the arrays.
    """

    def __init__(
        self,
        onnx: bytes,
        *,
        trie: Trie,
        item_vectors: npt.NDArray[np.float32],
        settings: ModelSettings,
        device: Device = "auto",
        threads: int = 1,
    ) -> None:
        if item_vectors.shape != (trie.num_items, settings.vector_dim):
            raise DecoderError(
                f"item vectors have shape {item_vectors.shape}; the trie and the settings of the release need "
                f"({trie.num_items}, {settings.vector_dim}); publish the run again"
            )
        self.settings = settings
        self.num_items = trie.num_items
        self.row_to_leaf = trie.row_to_leaf()
        self._dead_nodes = DeadNodeFinder(trie)
        self._num_levels = trie.num_levels
        self._session = _open_session(onnx, device, threads)
        self.provider: str = self._session.get_providers()[0]
        _check_inputs(self._session, trie.num_levels, settings.vector_dim)
        self._bound = self._bind_catalogue(trie, item_vectors)

    def decode(self, histories: Sequence[Int64Array], excluded: Sequence[Int64Array], *, beam_width: int) -> Decoded:
        """Search the best `beam_width` items of every request.

        Args:
            histories: item rows of each request, oldest first, any length; the most recent `max_history` count.
            excluded: item rows that must not be returned, of each request.
            beam_width: beams kept per request.

        Raises:
            ValueError: no request, lists of different lengths, a beam width below 1, or a row outside the catalogue.
        """
        if not histories or len(histories) != len(excluded) or beam_width < 1:
            raise ValueError(
                f"{len(histories)} histories, {len(excluded)} exclusion lists and beam_width={beam_width}: "
                "give at least one history, one exclusion list for each, and a beam width of at least 1"
            )
        for rows in histories:
            self._leaves(rows)  # refuses rows outside the catalogue
        dead = [self._dead_nodes.find(np.unique(self._leaves(rows))) for rows in excluded]
        binding = self._session.io_binding()
        for name, value in self._bound.items():
            binding.bind_ortvalue_input(name, value)
        binding.bind_cpu_input(HISTORY, pad_histories(histories, self.settings.max_history))
        binding.bind_cpu_input(BEAM_SLOTS, np.arange(beam_width))
        for level, array in enumerate(pad_dead_nodes(dead, self._num_levels)):
            binding.bind_cpu_input(dead_name(level), array)
        for name in OUTPUT_NAMES:
            binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(binding)
        return Decoded(*binding.copy_outputs_to_cpu())

    def _leaves(self, rows: Int64Array) -> Int64Array:
        if len(rows) and (rows.min() < 0 or rows.max() >= self.num_items):
            raise ValueError(f"item rows span {rows.min()}..{rows.max()}; the limit is 0..{self.num_items - 1}")
        return self.row_to_leaf[rows]

    def _bind_catalogue(self, trie: Trie, item_vectors: npt.NDArray[np.float32]) -> dict[str, Any]:
        arrays: dict[str, npt.NDArray[Any]] = {
            ITEM_VECTORS: np.ascontiguousarray(item_vectors, np.float32),
            LEAF_TO_ROW: trie.leaf_to_row,
        }
        for level, width in enumerate(trie.widths):
            names = trie_names(level)
            arrays |= dict(zip(names, (trie.child_start[level], trie.tokens[level], np.arange(width)), strict=True))
        on = "cuda" if self.provider == "CUDAExecutionProvider" else "cpu"
        return {name: ort.OrtValue.ortvalue_from_numpy(array, on) for name, array in arrays.items()}


def _open_session(onnx: bytes, device: Device, threads: int) -> Any:
    use_cuda = device == "cuda" or (device == "auto" and cuda_device_present())
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if use_cuda and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    providers = ["CUDAExecutionProvider"] if use_cuda else []
    try:
        session = ort.InferenceSession(onnx, options, providers=[*providers, "CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions share no base class
        raise DecoderError(f"onnxruntime cannot open the release's decoder: {error}") from error
    if device == "cuda" and session.get_providers()[0] != "CUDAExecutionProvider":
        raise DecoderError(
            f"device cuda was asked for, but onnxruntime {ort.__version__} would run on {session.get_providers()[0]}: "
            "check the driver and that onnxruntime-gpu (not onnxruntime) is installed, or set MMGREC_DEVICE=cpu"
        )
    return session


def _check_inputs(session: Any, num_levels: int, vector_dim: int) -> None:
    shapes = {node.name: node.shape for node in session.get_inputs()}
    found, expected = shapes.keys(), set(input_names(num_levels))
    if found != expected:
        raise DecoderError(
            f"the decoder graph was exported for other levels: it lacks {sorted(expected - found)} and has "
            f"{sorted(found - expected)} beyond those; export and publish the run again"
        )
    if shapes[ITEM_VECTORS][1] != vector_dim:
        raise DecoderError(
            f"the decoder graph takes item vectors of {shapes[ITEM_VECTORS][1]} columns, the release has {vector_dim}; "
            "export and publish the run again"
        )
