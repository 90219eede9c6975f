"""The beam decoder on onnxruntime: one `run` per batch, the catalogue bound once on the device.

The service and `offline evaluate` use this same class, so what is scored is what is served.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from service.buckets import Bucket, default_buckets
from service.constraints import DEFAULT_TABLE_BYTES, BatchConstraints, ConstraintBuilder, ItemFilter
from service.contract.decoder_graph import (
    BEAM_SLOTS,
    HISTORY,
    ITEM_VECTORS,
    LEAF_TO_ROW,
    beam_names,
    input_names,
    output_names,
    trie_names,
)
from service.contract.manifest import ModelSettings
from service.contract.trie import Trie
from service.device import Device
from service.onnx_session import (
    DEVICE_OF,
    Arrays,
    DecoderError,
    DynamicSession,
    FixedSession,
    fixed_dimensions,
    memory_of,
    open_session,
)

Int64Array = npt.NDArray[np.int64]


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

    @property
    def alive(self) -> npt.NDArray[np.bool_]:
        """Which slots hold an item: bool [batch, beam_width]."""
        return self.leaves >= 0


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

    Not safe for concurrent calls: one inference thread per device owns it. `run_cpu_seconds` is the CPU time that it
    has spent inside of onnxruntime.

    Args:
        onnx: the exported graph.
        trie: the catalogue's Rec-IDs.
        item_vectors: float32 [num_items, vector_dim], in item-row order.
        settings: the release's model settings.
        device: "auto" takes CUDA when there is a device, else the CPU.
        threads: CPU threads of one run.
        max_table_bytes: limit of the tables of category filters on the device.
        buckets: shapes for `prepare`; None takes `default_buckets` on CUDA and none on the CPU, where they gain little.

    Raises:
        DecoderError: CUDA is asked for and the session would run elsewhere, the graph does not fit the arrays, or an
            item vector is not finite.
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
        max_table_bytes: int = DEFAULT_TABLE_BYTES,
        buckets: Iterable[Bucket] | None = None,
    ) -> None:
        _check_vectors(item_vectors, trie, settings)
        self.run_cpu_seconds = 0.0
        self.settings = settings
        self.num_items = trie.num_items
        self.row_to_leaf = trie.row_to_leaf()
        self._ancestors = trie.ancestors
        self.constraints = ConstraintBuilder(trie, max_table_bytes)
        session = open_session(onnx, device, threads)
        self.provider: str = session.get_providers()[0]
        _check_inputs(session, trie.num_levels, settings.vector_dim)
        self._tells_levels = {node.name for node in session.get_outputs()} >= set(output_names(trie.num_levels))
        catalogue = _catalogue_arrays(trie, item_vectors, session) | self.constraints.static_inputs()
        memory = memory_of(session)
        self._resident = {name: ort.OrtValue.ortvalue_from_numpy(array, memory) for name, array in catalogue.items()}
        self._tables_shared = memory == "cpu"  # there a value is the array itself, and changes with it
        self._dynamic = DynamicSession(session, self._resident)
        if buckets is None:
            buckets = default_buckets(settings) if memory == "cuda" else ()
        self._buckets = sorted(buckets)
        self._opened = (onnx, session, threads)  # no bound method: a cycle would outlive its last user by minutes
        self._fixed: list[tuple[Bucket, FixedSession]] = []

    @property
    def has_buckets(self) -> bool:
        """Whether there are fixed shapes to prepare."""
        return bool(self._buckets)

    def prepare(self) -> None:
        """Open the sessions of fixed shapes; on CUDA this captures their graphs.

        To be called on the thread that will decode: onnxruntime keeps a captured graph for the thread that captured it,
        and a capture is disturbed by whatever else uses the device meanwhile. Without it every batch runs eagerly.
        """
        self._fixed = [(bucket, self._open_bucket(*self._opened, bucket)) for bucket in self._buckets]

    def _open_bucket(self, onnx: bytes, dynamic: Any, threads: int, bucket: Bucket) -> FixedSession:
        example = bucket.pad(self.inputs([np.empty(0, np.int64)], [ItemFilter()], bucket.beam_width))
        shapes = {name: value.shape() for name, value in self._resident.items()}
        fixed = fixed_dimensions(dynamic, shapes | {name: array.shape for name, array in example.items()})
        device: Device = DEVICE_OF[self.provider]
        session = open_session(onnx, device, threads, fixed=fixed, cuda_graph=device != "cpu")
        return FixedSession(session, self._resident, example, (bucket.batch, bucket.beam_width))

    def decode(self, histories: Sequence[Int64Array], filters: Sequence[ItemFilter], *, beam_width: int) -> Decoded:
        """Search the best `beam_width` items of every request, in one run of the graph.

        A batch with more different category filters than the tables hold (`max_table_bytes`) takes several runs.

        Args:
            histories: item rows of each request, oldest first, any length; the most recent `max_history` count.
            filters: what each request may be answered with.
            beam_width: beams kept per request.

        Raises:
            ValueError: no request, lists of different lengths, a beam width below 1, or a row outside the catalogue.
            DecoderError: the model's scores are not finite.
        """
        if not len(histories) or len(histories) != len(filters) or beam_width < 1:
            raise ValueError(
                f"{len(histories)} histories, {len(filters)} filters and beam_width={beam_width}: "
                "give at least one history, one filter for each, and a beam width of at least 1"
            )
        capacity = self.constraints.tables.capacity
        if len({id(each.allowed) for each in filters if each.needs_table}) > capacity:
            halves = (slice(None, len(histories) // 2), slice(len(histories) // 2, None))
            parts = [self.decode(histories[half], filters[half], beam_width=beam_width) for half in halves]
            return Decoded(*map(np.concatenate, zip(*parts, strict=True)))
        for rows in histories:  # before a table is changed
            self.constraints.check_rows(rows)
        constraints = self.constraints.build(filters)
        inputs = self._request_inputs(histories, constraints, beam_width)
        self._refresh_tables()
        before = time.thread_time()
        decoded = Decoded(*self._run(inputs))
        self.run_cpu_seconds += time.thread_time() - before
        self._check_answers(decoded, constraints.num_legal)
        return decoded

    def level_log_probs(self, history: Int64Array, rows: Int64Array, beam_width: int) -> npt.NDArray[np.float32] | None:
        """Log-probability of every token of some items, given the history and the tokens before it.

        A search among these items alone, with all the beams behind every level. Token log-probabilities do not depend
        on filters, so the sums are those of any other search.

        Args:
            history: item rows, oldest first.
            rows: distinct item rows, `beam_width` at most.
            beam_width: as of the search that found them.

        Returns:
            float32 [len(rows), levels], or None where the exported graph does not tell.
        """
        if not self._tells_levels:
            return None
        only_these = self.constraints.build([ItemFilter(candidates=rows)])
        num_levels = len(self.settings.space.vocabulary_sizes)
        wanted = [name for level in range(num_levels) for name in beam_names(level)]
        found = self._dynamic.run(self._request_inputs([history], only_these, beam_width), wanted)
        sums = np.zeros((num_levels + 1, len(rows)), np.float32)
        ancestors = self._ancestors(self.row_to_leaf[rows])
        for level, (nodes, log_probs) in enumerate(zip(found[::2], found[1::2], strict=True)):
            here = nodes[0][:, None] == ancestors[level][None, :]  # (beams, rows)
            # Dead beams stand on some node as well; their log-probabilities are far below all others.
            sums[level + 1] = np.where(here, log_probs[0][:, None], -np.inf).max(axis=0)
        return np.diff(sums, axis=0).T

    def inputs(
        self, histories: Sequence[Int64Array], filters: Sequence[ItemFilter], beam_width: int
    ) -> dict[str, npt.NDArray[Any]]:
        """The arrays of a batch by graph input, without the catalogue's."""
        return self._request_inputs(histories, self.constraints.build(filters), beam_width)

    def resident_inputs(self) -> dict[str, npt.NDArray[Any]]:
        """The catalogue's arrays by graph input, the tables of filters included."""
        return {name: value.numpy() for name, value in self._resident.items()}

    def _request_inputs(
        self, histories: Sequence[Int64Array], constraints: BatchConstraints, beam_width: int
    ) -> dict[str, npt.NDArray[Any]]:
        padded = pad_histories(histories, self.settings.max_history)
        return {HISTORY: padded, BEAM_SLOTS: np.arange(beam_width), **constraints.inputs}

    def _refresh_tables(self) -> None:
        if self.constraints.tables.changed and not self._tables_shared:
            for name, table in self.constraints.static_inputs().items():
                self._resident[name].update_inplace(table)
        self.constraints.tables.changed = False

    def _run(self, inputs: Arrays) -> list[npt.NDArray[Any]]:
        for bucket, session in self._fixed:
            if bucket.holds(inputs):
                batch = len(inputs[HISTORY])
                return [array[:batch] for array in session.run(bucket.pad(inputs))]
        return self._dynamic.run(inputs)

    def _check_answers(self, decoded: Decoded, num_legal: Int64Array) -> None:
        """Hold invariant 2 on every answer; only scores that are not finite can break it."""
        alive = decoded.alive & np.isfinite(decoded.score)
        found, expected = alive.sum(axis=1), np.minimum(num_legal, alive.shape[1])
        if not np.array_equal(found, expected):
            row = int(np.flatnonzero(found != expected)[0])
            raise DecoderError(
                f"request {row} of the batch got {found[row]} items where {expected[row]} are legal: the model's "
                "scores are not finite for it; roll back to another release and train this one again"
            )


def _check_vectors(item_vectors: npt.NDArray[np.float32], trie: Trie, settings: ModelSettings) -> None:
    if item_vectors.shape != (trie.num_items, settings.vector_dim):
        raise DecoderError(
            f"item vectors have shape {item_vectors.shape}; the trie and the settings of the release need "
            f"({trie.num_items}, {settings.vector_dim}); publish the run again"
        )
    with np.errstate(invalid="ignore"):  # infinities of both signs in one row
        finite = np.isfinite(item_vectors.sum(axis=1, dtype=np.float64))
    if not finite.all():
        raise DecoderError(
            f"item vectors hold NaN or infinity in {(~finite).sum()} of {len(finite)} rows, the first is row "
            f"{np.flatnonzero(~finite)[0]}; train and publish again"
        )


def _catalogue_arrays(trie: Trie, item_vectors: npt.NDArray[np.float32], session: Any) -> dict[str, npt.NDArray[Any]]:
    half = {node.name: node.type for node in session.get_inputs()}[ITEM_VECTORS] == "tensor(float16)"
    arrays: dict[str, npt.NDArray[Any]] = {
        ITEM_VECTORS: np.ascontiguousarray(item_vectors, np.float16 if half else np.float32),
        LEAF_TO_ROW: trie.leaf_to_row,
    }
    for level, (width, tokens) in enumerate(zip(trie.widths, trie.padded_tokens(), strict=True)):
        slots = np.arange(width)
        arrays |= dict(zip(trie_names(level), (trie.child_start[level], tokens, slots), strict=True))
    return arrays


def _check_inputs(session: Any, num_levels: int, vector_dim: int) -> None:
    shapes = {node.name: node.shape for node in session.get_inputs()}
    found, expected = shapes.keys(), set(input_names(num_levels))
    if found != expected:
        raise DecoderError(
            "the decoder graph was exported for other levels or by another version: it lacks "
            f"{sorted(expected - found)} and has {sorted(found - expected)} beyond those; "
            "export and publish the run again"
        )
    if shapes[ITEM_VECTORS][1] != vector_dim:
        raise DecoderError(
            f"the decoder graph takes item vectors of {shapes[ITEM_VECTORS][1]} columns, the release has {vector_dim}; "
            "export and publish the run again"
        )
