"""Texts through an ONNX graph with the `tokenizer.json` that lies beside it."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from offline.encoding.encoder import EXTRA, Content, FloatArray, check_vectors
from offline.encoding.fingerprints import encoder_fingerprint
from offline.encoding.model_files import OnnxFiles
from offline.encoding.onnx_graph import Device, OnnxGraph
from offline.errors import BadInputError, JobError

TOKENIZER = "tokenizer.json"
_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
_DEFAULT_TOKENS = 512


class TextGraphEncoder:
    """An ONNX graph that takes tokens; without a pooled output, the mean over the tokens that count.

    Args:
        spec: as asked for, for messages.
        files: the graph and what lies beside it.
        device: where it runs.
        prompt: put before every text.
        output: name of the output, None to choose.
    """

    def __init__(
        self, spec: str, files: OnnxFiles, device: Device, *, prompt: str = "", output: str | None = None
    ) -> None:
        self._spec, self._files, self._prompt, self._output = spec, files, prompt, output
        self._graph = OnnxGraph(files.graph, device, output)
        if unknown := set(self._graph.inputs) - _INPUTS or {"input_ids"} - set(self._graph.inputs):
            raise BadInputError(
                f"{files.graph}: takes {', '.join(self._graph.inputs)}, which is no encoder of texts ({min(unknown)}); "
                "give one that takes input_ids and, if it wants them, attention_mask and token_type_ids"
            )
        self._tokenizer_file = self._find_tokenizer()
        self._tokenizer = self._open_tokenizer()

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Prompt, most tokens and output."""
        return {"prompt": self._prompt, "max_tokens": self._max_tokens, "output": self._output}

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over graph, weights, tokenizer and settings."""
        return encoder_fingerprint([*self._files.weights(), ("tokenizer", self._tokenizer_file)], self.settings)

    def load(self, content: Content) -> str:
        """The text as the tokenizer takes it."""
        return f"{self._prompt}{content}"

    def encode(self, loaded: Sequence[str]) -> FloatArray:
        """Vectors [N, dim]."""
        encoded = self._tokenizer.encode_batch(list(loaded))
        mask = np.array([one.attention_mask for one in encoded], np.int64)
        known = {
            "input_ids": np.array([one.ids for one in encoded], np.int64),
            "attention_mask": mask,
            "token_type_ids": np.array([one.type_ids for one in encoded], np.int64),
        }
        feeds = {name: known[name].astype(self._graph.type_of(name)) for name in self._graph.inputs}
        return check_vectors(self._graph.run(feeds, mask), len(loaded), self._spec)

    @cached_property
    def _max_tokens(self) -> int:
        """What the graph fixes, else what the tokenizer was trained with, else 512."""
        fixed = self._graph.shape_of("input_ids")[-1]
        if fixed is not None:
            return fixed
        try:
            said = json.loads((self._tokenizer_file.parent / "tokenizer_config.json").read_text(encoding="utf-8"))
            return min(int(said.get("model_max_length", _DEFAULT_TOKENS)), _DEFAULT_TOKENS)
        except (OSError, ValueError, TypeError, AttributeError, OverflowError):
            return _DEFAULT_TOKENS

    def _find_tokenizer(self) -> Path:
        folders = (self._files.graph.parent, self._files.graph.parent.parent)
        found = next((folder / TOKENIZER for folder in folders if (folder / TOKENIZER).is_file()), None)
        if found is None:
            raise BadInputError(f"{self._files.graph}: has no {TOKENIZER} beside it; put the model's own there")
        return found

    def _open_tokenizer(self) -> Any:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise JobError(f"--encoder {self._spec}: tokenizers is not installed: {EXTRA}") from error
        try:
            tokenizer = Tokenizer.from_file(str(self._tokenizer_file))
        except Exception as error:  # the library raises plain Exception
            raise BadInputError(f"{self._tokenizer_file}: is no tokenizer ({error}); download it again") from error
        tokenizer.enable_truncation(self._max_tokens)
        fixed = self._graph.shape_of("input_ids")[-1]
        known = dict(tokenizer.padding or {})
        tokenizer.enable_padding(
            length=fixed,
            pad_id=known.get("pad_id", 0),
            pad_token=known.get("pad_token", "[PAD]"),
            pad_type_id=known.get("pad_type_id", 0),
        )
        return tokenizer
