"""An ONNX file as an encoder: which input takes the contents, which output is the vector."""

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from offline.errors import BadInputError, JobError

Device = Literal["cpu", "cuda"]
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
NUMPY_TYPES: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(double)": np.dtype(np.float64),
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(int32)": np.dtype(np.int32),
    "tensor(int64)": np.dtype(np.int64),
}
# Of several outputs with a vector per content, the one that is meant to be compared.
_POOLED_NAMES = ("image_embeds", "audio_embeds", "text_embeds", "sentence_embedding", "embeddings", "pooler_output")


class OnnxGraph:
    """An opened graph.

    Args:
        file: the .onnx; weights in files beside it are found by onnxruntime.
        device: where it runs.
        output: name of the output to take, None to choose by rank.

    Raises:
        BadInputError: the file is no ONNX graph, or has no such output.
        JobError: it cannot run on the device.
    """

    def __init__(self, file: Path, device: Device, output: str | None = None) -> None:
        self.file = file
        self._session = _open(file, device)
        self.inputs = {node.name: node for node in self._session.get_inputs()}
        self._outputs = self._choose_outputs(output)

    def shape_of(self, name: str) -> list[int | None]:
        """Sizes of an input, None where they are free."""
        return [size if isinstance(size, int) and size > 0 else None for size in self.inputs[name].shape or []]

    def type_of(self, name: str) -> np.dtype[Any]:
        """Of an input.

        Raises:
            BadInputError: no type that contents can have.
        """
        kind = self.inputs[name].type
        if kind not in NUMPY_TYPES:
            raise BadInputError(f"{self.file}: input {name!r} is {kind}; supported: {', '.join(NUMPY_TYPES)}")
        return NUMPY_TYPES[kind]

    def only_input(self, ranks: tuple[int, ...], what: str) -> str:
        """The name of the one input of a graph.

        Raises:
            BadInputError: there are several, or its rank is none of `ranks`.
        """
        if len(self.inputs) != 1:
            raise BadInputError(
                f"{self.file}: takes {', '.join(self.inputs)}, and only {what} can be given; export the part of the "
                "model that encodes them by itself (often called vision_model.onnx)"
            )
        (name,) = self.inputs
        if (rank := len(self.inputs[name].shape or [])) not in ranks:
            raise BadInputError(
                f"{self.file}: input {name!r} has {rank} axes {self.inputs[name].shape}, but {what} have "
                f"{' or '.join(map(str, ranks))}; export the model so that it takes {what}"
            )
        return str(name)

    def run(self, feeds: Mapping[str, npt.NDArray[Any]], mask: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """One vector per content, [N, dim] if the graph gives that; a fixed batch size is kept to by filling up.

        Args:
            feeds: input name to array, contents along the first axis.
            mask: [N, tokens], 1 where a token counts in the mean; None for all of them.

        Raises:
            BadInputError: the graph cannot run on such inputs, or gives neither vectors nor tokens.
        """
        count = len(next(iter(feeds.values())))
        fixed = next((shape[0] for name in feeds if (shape := self.shape_of(name)) and shape[0]), None)
        step = fixed or count
        parts = []
        for start in range(0, count, step):
            part = {name: _filled(array[start : start + step], step) for name, array in feeds.items()}
            kept = None if mask is None else mask[start : start + step]
            parts.append(self._vectors(part, min(step, count - start), kept))
        return np.concatenate(parts)

    def _vectors(
        self, feeds: Mapping[str, npt.NDArray[Any]], count: int, mask: npt.NDArray[Any] | None
    ) -> npt.NDArray[Any]:
        try:
            found = self._session.run(self._outputs, dict(feeds))
        except Exception as error:  # onnxruntime's own exceptions share no base class
            shapes = {name: array.shape for name, array in feeds.items()}
            raise BadInputError(
                f"{self.file}: does not run on inputs of shape {shapes} ({_first_line(error)}); check --image-size, "
                "--input-layout, --window-seconds, or --batch if its batch is fixed"
            ) from error
        by_rank = {rank: array for array in reversed(found) if (rank := array.ndim)}
        if 2 in by_rank:
            return np.asarray(by_rank[2][:count])
        if 3 in by_rank:
            return _mean_over_tokens(by_rank[3][:count], mask)
        shapes = {name: array.shape for name, array in zip(self._outputs, found, strict=True)}
        raise BadInputError(
            f"{self.file}: no output is [N, dim] or [N, tokens, dim], they are {shapes}; name one with --output, or "
            "export the model with its pooling"
        )

    def _choose_outputs(self, wanted: str | None) -> list[str]:
        """Outputs to ask for, best first: graphs do not always say of what rank theirs are."""
        nodes = {node.name: node for node in self._session.get_outputs()}
        if wanted is not None:
            if wanted not in nodes:
                raise BadInputError(f"{self.file}: has no output {wanted!r}; --output is one of {', '.join(nodes)}")
            return [wanted]
        names = sorted(nodes, key=lambda name: _POOLED_NAMES.index(name) if name in _POOLED_NAMES else len(nodes) + 99)
        ranks = {name: len(nodes[name].shape or []) for name in names}
        pooled = [name for name in names if ranks[name] == 2]
        return pooled[:1] or [name for name in names if ranks[name] == 3][:1] or names


def _filled(array: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    if len(array) == size:
        return array
    return np.concatenate([array, np.repeat(array[-1:], size - len(array), axis=0)])


def _mean_over_tokens(tokens: npt.NDArray[Any], mask: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
    """[N, tokens, dim] to [N, dim]."""
    tokens = tokens.astype(np.float32)
    if mask is None or mask.shape != tokens.shape[:2]:
        return np.asarray(tokens.mean(axis=1))
    weights = mask.astype(np.float32)[:, :, None]
    return np.asarray((tokens * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1.0))


def _open(file: Path, device: Device) -> Any:
    import onnxruntime as ort

    if PROVIDERS[device] not in ort.get_available_providers():
        raise JobError(f"--device {device}: this onnxruntime has no {PROVIDERS[device]}; install onnxruntime-gpu")
    if device == "cuda" and hasattr(ort, "preload_dlls"):
        with redirect_stdout(sys.stderr):  # it prints what it does not find
            ort.preload_dlls()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other jobs want the cores as well
    try:
        session = ort.InferenceSession(file, options, providers=[PROVIDERS[device]])
    except Exception as error:  # onnxruntime's own exceptions share no base class
        raise BadInputError(
            f"{file}: cannot be opened as an ONNX graph ({_first_line(error)}); give a whole .onnx file, with the "
            "files of its weights beside it"
        ) from error
    if session.get_providers()[0] != PROVIDERS[device]:
        raise JobError(
            f"--device {device}: onnxruntime would run on {session.get_providers()[0]}; check the driver, or leave "
            "--device out"
        )
    return session


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
