"""Texts through a sentence-transformers model: a folder, a package that carries one, or a hub name."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from offline.encoding.encoder import EXTRA, Content, FloatArray, check_vectors
from offline.encoding.fingerprints import encoder_fingerprint
from offline.encoding.onnx_graph import Device
from offline.errors import BadInputError, JobError

# Of a model's folder, what decides no vector, or holds the same weights for other libraries.
_UNUSED_FOLDERS = ("onnx", "openvino", "coreml", "__pycache__")
_UNUSED_ENDINGS = (".md", ".py", ".h5", ".ot", ".msgpack", ".gguf", ".onnx", ".onnx_data")


class SentenceEncoder:
    """A sentence-transformers model; it is loaded when the first text is to be encoded.

    Args:
        spec: as asked for, for messages.
        folder: of the model.
        device: where it runs.
        prompt: put before every text, such as "passage: " for E5; None for the model's own, if it has one.
    """

    def __init__(self, spec: str, folder: Path, device: Device, *, prompt: str | None = None) -> None:
        if not (folder / "modules.json").is_file() and not (folder / "config.json").is_file():
            raise BadInputError(
                f"--encoder {spec}: {folder} holds neither modules.json nor config.json, so it is no model of "
                "sentence-transformers; give such a folder, a package that carries one, or a hub name"
            )
        self._spec, self._folder, self._device, self._prompt = spec, folder, device, prompt

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The prompt; all else stands in the model's folder."""
        return {"prompt": self._prompt}

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the files of the folder that decide vectors, and the prompt."""
        return encoder_fingerprint(model_weights(self._folder), self.settings)

    def load(self, content: Content) -> str:
        """The text; the model puts the prompt before it."""
        return str(content)

    def encode(self, loaded: Sequence[str]) -> FloatArray:
        """Vectors [N, dim].

        Raises:
            BadInputError: the folder is no model, or gives no such vectors.
            JobError: sentence-transformers is not installed, or there is no such device.
        """
        vectors = self._model.encode(
            list(loaded), batch_size=len(loaded), show_progress_bar=False, convert_to_numpy=True, prompt=self._prompt
        )
        return check_vectors(vectors, len(loaded), self._spec)

    @cached_property
    def _model(self) -> Any:
        try:
            import torch
            from sentence_transformers import SentenceTransformer
            from transformers.utils import logging
        except ImportError as error:
            raise JobError(f"--encoder {self._spec}: sentence-transformers is not installed: {EXTRA}") from error
        logging.disable_progress_bar()  # of its own, for loading weights
        if self._device == "cuda" and not torch.cuda.is_available():
            raise JobError("--device cuda: torch finds no CUDA device here; leave --device out")
        try:
            return SentenceTransformer(str(self._folder), device=self._device, local_files_only=True)
        except Exception as error:  # whatever a library of this size stumbles over in a damaged folder
            raise BadInputError(
                f"--encoder {self._spec}: {self._folder} cannot be loaded by sentence-transformers "
                f"({type(error).__name__}: {str(error).strip()[:300]}); download the model again"
            ) from error


def model_weights(folder: Path) -> list[tuple[str, Path]]:
    """Files of a model's folder that decide its vectors, by their path in it; doubled weights count once."""
    found = []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") or part in _UNUSED_FOLDERS for part in inside.parts)
        doubled = path.name == "pytorch_model.bin" and path.with_name("model.safetensors").is_file()
        if path.is_file() and not hidden and not doubled and not path.name.endswith(_UNUSED_ENDINGS):
            found.append((inside.as_posix(), path))
    return found
