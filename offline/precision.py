"""The `export` job: a finished run's decoder in another precision, with how much of the answers stays the same.

int8 has static scales, so an answer never depends on its neighbours in a batch; float16 is for CUDA.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from offline import progress
from offline.artefacts import load_catalogue, load_generator, load_settings, open_decoder
from offline.dataset import Dataset
from offline.evaluate import Split
from offline.export import export_decoder
from offline.run_folder import RunFolder
from offline.train import DECODER_FILES, METRICS_FILES, evaluate_run
from service.constraints import ItemFilter
from service.decoder import BeamDecoder

Precision = Literal["fp32", "fp16", "int8"]
Histories = Sequence[npt.NDArray[np.int64]]
CALIBRATION_BATCHES, CALIBRATION_USERS = 16, 32
COMPARED_USERS, TOP = 512, 20


def export_run(dataset: Dataset, run: RunFolder, precision: Precision) -> dict[str, float]:
    """Export a finished run's decoder anew, score it, and put both in the place of what `train` left.

    Returns:
        The metrics of the new decoder, and the `overlap@20` of its answers with those of fp32.

    Raises:
        BadInputError: the run is not finished or damaged.
        LockedError: another process works in the folder.
    """
    run.require("metrics")
    with run.locked():
        catalogue, generator, settings = load_catalogue(run), load_generator(run), load_settings(run)
        progress.say(f"exporting the beam decoder in {precision} (up to a minute)")
        weight, parity = settings.dense_weight, run.read_json("parity.json")
        if precision != "fp32" and parity.get("precision", "fp32") == "fp32":
            export = run.decoder.read_bytes()
        else:
            export = export_decoder(generator, catalogue.trie, catalogue.items, weight)
        exact = open_decoder(export, catalogue, settings)
        if precision == "fp16":
            export = export_decoder(generator, catalogue.trie, catalogue.items, weight, dtype=torch.float16)
        elif precision == "int8":
            histories = _some_histories(dataset, "valid", CALIBRATION_BATCHES * CALIBRATION_USERS)
            export = to_int8(export, exact, histories)
        common = overlap(
            exact, open_decoder(export, catalogue, settings), _some_histories(dataset, "test", COMPARED_USERS)
        )
        run.decoder.write_bytes(export)
        run.write_json("parity.json", {**parity, "precision": precision, "overlap@20": common})
        run.record("decoder", DECODER_FILES)
        metrics = evaluate_run(dataset, run, "test")[0]
        run.write_json("metrics.json", {**metrics, "train_seconds": run.read_json("metrics.json")["train_seconds"]})
        run.record("metrics", METRICS_FILES)
    return {**metrics, "overlap@20": common}


def to_int8(decoder: bytes, exact: BeamDecoder, histories: Histories) -> bytes:
    """The decoder with int8 weights (one scale per output channel) and uint8 activations (static scales).

    Args:
        decoder: an exported graph in fp32.
        exact: the same, opened on the CPU.
        histories: item rows of users that the scales of the activations are taken from.
    """
    with tempfile.TemporaryDirectory() as folder:
        folded, quantized = Path(folder) / "folded.onnx", Path(folder) / "int8.onnx"
        _fold_constants(decoder, folded)
        graph = onnx.load(folded).graph
        constants = {initializer.name for initializer in graph.initializer}
        products = [node.name for node in graph.node if node.op_type == "Gemm" and node.input[1] in constants]
        quantize_static(
            folded,
            quantized,
            _Calibration(exact, histories),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Gemm"],
            nodes_to_quantize=products,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
        )
        return quantized.read_bytes()


def overlap(exact: BeamDecoder, other: BeamDecoder, histories: Histories) -> float:
    """Share of the first 20 items of `exact` that are among the first 20 of `other`, each history's own left out."""
    width = exact.settings.beam_widths[0]
    filters = [ItemFilter(excluded=rows) for rows in histories]
    top = min(TOP, width)
    lists = [decoder.decode(histories, filters, beam_width=width).leaves[:, :top] for decoder in (exact, other)]
    same = [
        len(np.intersect1d(one[one >= 0], two[two >= 0])) / max(1, (one >= 0).sum())
        for one, two in zip(*lists, strict=True)
    ]
    return float(np.mean(same))


def _fold_constants(decoder: bytes, path: Path) -> None:
    """Weights that are put together or cut in the graph become constants, which alone can be quantized."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    ort.InferenceSession(decoder, options, providers=["CPUExecutionProvider"])


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Batches of users without any filter."""

    def __init__(self, decoder: BeamDecoder, histories: Histories) -> None:
        batches = range(0, len(histories), CALIBRATION_USERS)
        self._batches = iter([histories[start : start + CALIBRATION_USERS] for start in batches])
        self._decoder = decoder

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        batch = next(self._batches, None)
        if batch is None:
            return None
        width = self._decoder.settings.beam_widths[0]
        return self._decoder.resident_inputs() | self._decoder.inputs(batch, [ItemFilter()] * len(batch), width)


def _some_histories(dataset: Dataset, split: Split, count: int) -> Histories:
    """Histories of up to `count` users, evenly over the dataset."""
    histories = dataset.histories(split)
    users = np.unique(np.linspace(0, dataset.num_users - 1, count).astype(np.int64))
    return [histories.of(int(user)) for user in users]
