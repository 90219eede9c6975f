"""The `export` job: a finished run's decoder in another precision, with how much of the answers stays the same.

int8 has static scales, so an answer never depends on its neighbours in a batch; float16 is for CUDA.
"""

import contextlib
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from model.beam_decoder import BeamDecoder as TorchBeamDecoder
from model.generator import Generator
from offline import progress
from offline.artefacts import Catalogue, load_catalogue, load_generator, load_settings, open_decoder
from offline.dataset import Dataset
from offline.errors import JobError
from offline.export import export_decoder
from offline.parity import Parity, check_parity, some_histories
from offline.reporting import report_at_end
from offline.run_folder import DECODER_FILES, METRICS_FILES, RunFolder
from offline.train import write_metrics
from service.constraints import ItemFilter
from service.contract.manifest import ModelSettings
from service.decoder import BeamDecoder
from service.onnx_session import DecoderError

Precision = Literal["fp32", "fp16", "int8"]
Histories = Sequence[npt.NDArray[np.int64]]
CALIBRATION_BATCHES, CALIBRATION_USERS = 16, 32
COMPARED_USERS, TOP = 512, 20
MIN_OVERLAP = 0.9


def export_run(dataset: Dataset, run: RunFolder, precision: Precision) -> dict[str, float]:
    """Export a run's decoder anew, score it, and put both in the place of what is there.

    Stopped at any point, the run is either as before or unfinished, which `train` mends; never a decoder with the
    metrics of another.

    Returns:
        The metrics of the new decoder, and the `overlap@20` of its answers with those of fp32.

    Raises:
        BadInputError: the run has no generator, or is damaged.
        JobError: too few answers stay the same, or ONNX does not equal torch; the run stays as it was.
        LockedError: another process works in the folder.
    """
    run.require("generator")
    with run.locked():
        catalogue, generator, settings = load_catalogue(run), load_generator(run), load_settings(run)
        progress.say(f"exporting the beam decoder in {precision} (up to a minute)")
        export, exact, parity = _fp32(run, catalogue, generator, settings, dataset, anew=precision == "fp32")
        if precision == "fp16":
            weight = settings.dense_weight
            export = export_decoder(generator, catalogue.trie, catalogue.items, weight, dtype=torch.float16)
        elif precision == "int8":
            export = to_int8(export, exact, some_histories(dataset, "valid", CALIBRATION_BATCHES * CALIBRATION_USERS))
        histories = some_histories(dataset, "test", COMPARED_USERS)
        common = overlap(exact, open_decoder(export, catalogue, settings), histories)
        if common < MIN_OVERLAP:
            raise JobError(
                f"{precision} keeps {common:.1%} of the first {TOP} items, at least {MIN_OVERLAP:.0%} are asked for; "
                f"{run.folder} stays as it was: serve fp32"
            )
        seconds = run.stage_seconds().get("decoder", 0.0)
        run.reopen("decoder", "metrics")
        run.decoder.write_bytes(export)
        run.write_json("parity.json", {"precision": precision, "overlap@20": common, "fp32": asdict(parity)})
        run.record("decoder", DECODER_FILES, seconds)
        metrics = write_metrics(dataset, run)
        run.record("metrics", METRICS_FILES, 0.0)
        report_at_end(run, anew=True)
    return {**metrics, "overlap@20": common}


def _fp32(
    run: RunFolder, catalogue: Catalogue, generator: Generator, settings: ModelSettings, dataset: Dataset, *, anew: bool
) -> tuple[bytes, BeamDecoder, Parity]:
    """The fp32 decoder, the same opened, its parity with torch: the run's own if whole and usable, else exported."""
    if not anew and run.is_whole("decoder", DECODER_FILES):
        parity = run.read_json("parity.json")
        if parity.get("precision") == "fp32":
            with contextlib.suppress(DecoderError):
                onnx = run.decoder.read_bytes()
                return onnx, open_decoder(onnx, catalogue, settings), Parity(**parity["fp32"])
    onnx = export_decoder(generator, catalogue.trie, catalogue.items, settings.dense_weight)
    exact = open_decoder(onnx, catalogue, settings)
    return onnx, exact, check_parity(TorchBeamDecoder(generator, settings.dense_weight), exact, catalogue, dataset)


def to_int8(decoder: bytes, exact: BeamDecoder, histories: Histories) -> bytes:
    """The decoder with int8 weights (one scale per output channel) and uint8 activations (static scales).

    Args:
        decoder: an exported graph in fp32.
        exact: the same, opened on the CPU.
        histories: item rows of users that the scales of the activations are taken from.
    """
    with tempfile.TemporaryDirectory() as folder:
        exported, folded, quantized = (Path(folder) / name for name in ("fp32.onnx", "folded.onnx", "int8.onnx"))
        exported.write_bytes(decoder)
        # Weights that are put together or cut in the graph become constants, which alone can be quantized. It also
        # marks the file as prepared; the quantizer warns of others. Our shapes are dynamic, so none are inferred.
        quant_pre_process(exported, folded, skip_symbolic_shape=True, skip_onnx_shape=True)
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
