"""onnxruntime sessions of the decoder's graph: one that takes any shape, and ones for a fixed shape.

A fixed shape lets onnxruntime fold all shape arithmetic away, and on CUDA the whole search is captured as one CUDA
graph: buffers keep their addresses, a request's arrays are copied into them.
"""

import contextlib
import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from service.contract.decoder_graph import OUTPUT_NAMES
from service.device import Device, cuda_device_present

Arrays = Mapping[str, npt.NDArray[Any]]
PROVIDERS: dict[Device, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
DEVICE_OF = {provider: device for device, provider in PROVIDERS.items()}

logger = logging.getLogger(__name__)


class DecoderError(RuntimeError):
    """A decoder that cannot be built or used as asked; the message says what is wrong and what to do."""


def open_session(
    onnx: bytes, device: Device, threads: int, *, fixed: Mapping[str, int] | None = None, cuda_graph: bool = False
) -> Any:
    """Open a session and make sure that it runs where it was asked to.

    Args:
        onnx: the exported graph.
        device: "auto" takes CUDA when there is a device that onnxruntime can use, else the CPU.
        threads: CPU threads of one run.
        fixed: sizes for named dimensions of the inputs.
        cuda_graph: capture the run as a CUDA graph; every dimension must be fixed.

    Raises:
        DecoderError: onnxruntime cannot open the graph, or would run it elsewhere.
    """
    if device == "auto":
        if cuda_device_present():
            try:
                return open_session(onnx, "cuda", threads, fixed=fixed, cuda_graph=cuda_graph)
            except DecoderError as error:
                logger.warning("running on the CPU: %s", error)
        device = "cpu"
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    for name, size in (fixed or {}).items():
        options.add_free_dimension_override_by_name(name, size)
    if device != "cpu" and hasattr(ort, "preload_dlls"):
        with contextlib.redirect_stdout(sys.stderr):  # it prints what it does not find
            ort.preload_dlls()
    try:
        session = ort.InferenceSession(onnx, options, providers=_providers(device, cuda_graph))
    except Exception as error:  # onnxruntime's own exceptions share no base class
        raise DecoderError(f"onnxruntime cannot open the release's decoder on {device}: {error}") from error
    found = session.get_providers()[0]
    if found != PROVIDERS[device]:
        raise DecoderError(
            f"device {device} was asked for, but onnxruntime {ort.__version__} would run on {found}: "
            "check the driver and that onnxruntime-gpu (not onnxruntime) is installed, or set MMGREC_DEVICE=cpu"
        )
    return session


def _providers(device: Device, cuda_graph: bool) -> list[Any]:
    capture = "1" if cuda_graph else "0"
    # The arena never shrinks while a session lives, so it takes what is needed and no power of two.
    cuda = ("CUDAExecutionProvider", {"enable_cuda_graph": capture, "arena_extend_strategy": "kSameAsRequested"})
    tensorrt = ("TensorrtExecutionProvider", {"trt_cuda_graph_enable": cuda_graph})
    accelerators: dict[str, list[Any]] = {"cpu": [], "cuda": [cuda], "tensorrt": [tensorrt, cuda]}
    return [*accelerators[device], "CPUExecutionProvider"]


def memory_of(session: Any) -> str:
    """Where a session's buffers lie: "cpu" or "cuda"."""
    return "cpu" if session.get_providers()[0] == "CPUExecutionProvider" else "cuda"


def fixed_dimensions(session: Any, shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Names of a dynamic session's input dimensions, with the sizes that they have in `shapes`, by input."""
    return {
        name: size
        for node in session.get_inputs()
        for name, size in zip(node.shape, shapes[node.name], strict=True)
        if isinstance(name, str)
    }


class DynamicSession:
    """Runs any shape; the catalogue's arrays stay bound on the device.

    Args:
        session: from `open_session`.
        resident: the catalogue's values by input.
    """

    def __init__(self, session: Any, resident: Mapping[str, Any]) -> None:
        self._session = session
        self._binding = session.io_binding()
        for name, value in resident.items():
            self._binding.bind_ortvalue_input(name, value)

    def run(self, inputs: Arrays, wanted: Sequence[str] = OUTPUT_NAMES) -> list[npt.NDArray[Any]]:
        """One run of the whole search; the outputs `wanted`, in this order."""
        for name, array in inputs.items():
            self._binding.bind_cpu_input(name, array)
        self._binding.clear_binding_outputs()
        for name in wanted:
            self._binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(self._binding)
        outputs: list[npt.NDArray[Any]] = self._binding.copy_outputs_to_cpu()
        return outputs


class FixedSession:
    """Runs one shape from buffers that keep their addresses.

    Args:
        session: from `open_session`, with every dimension fixed.
        resident: the catalogue's values by input.
        example: request inputs of the shape.
        output_shape: (batch, beam width).
    """

    def __init__(
        self, session: Any, resident: Mapping[str, Any], example: Arrays, output_shape: tuple[int, int]
    ) -> None:
        self._session = session
        memory = memory_of(session)
        self._inputs = {name: ort.OrtValue.ortvalue_from_numpy(array.copy(), memory) for name, array in example.items()}
        dtypes = (np.int64, np.float32, np.float32)
        self._outputs = [ort.OrtValue.ortvalue_from_shape_and_type(output_shape, dtype, memory) for dtype in dtypes]
        self._binding = session.io_binding()
        for name, value in {**resident, **self._inputs}.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, value in zip(OUTPUT_NAMES, self._outputs, strict=True):
            self._binding.bind_ortvalue_output(name, value)
        # A CUDA graph is captured on the first runs: before serving, on the thread that will decode.
        for _ in range(2):
            self.run(example)

    def run(self, inputs: Arrays) -> list[npt.NDArray[Any]]:
        """One run of the whole search; the arrays must have the shapes of the example."""
        for name, value in self._inputs.items():
            value.update_inplace(np.ascontiguousarray(inputs[name]))
        self._session.run_with_iobinding(self._binding)
        return [value.numpy().copy() for value in self._outputs]
