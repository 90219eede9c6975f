"""Sounds through an ONNX graph that takes samples: windows of a fixed length, the mean over a sound's windows."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from offline.encoding.audio_files import RATES, read_sound
from offline.encoding.encoder import Content, FloatArray, UnreadableContentError, check_vectors
from offline.encoding.fingerprints import encoder_fingerprint
from offline.encoding.model_files import OnnxFiles
from offline.encoding.onnx_graph import Device, OnnxGraph
from offline.errors import BadInputError

DEFAULT_WINDOW_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class AudioSettings:
    """How a sound becomes an encoder's input."""

    sampling_rate: int  # Hz
    window: int  # samples
    normalise: bool  # each window to mean 0 and deviation 1
    max_seconds: float  # what is longer is cut


class AudioEncoder:
    """An ONNX graph that takes samples, [N, samples] or [N, 1, samples].

    Args:
        spec: as asked for, for messages.
        files: the graph and what lies beside it.
        device: where it runs.
        sampling_rate: Hz; None to read it from the settings beside the graph.
        window_seconds: None for what the graph fixes, else 10.
        max_seconds: of a sound.
        output: name of the output, None to choose.
        max_bytes: of a file.
    """

    def __init__(
        self,
        spec: str,
        files: OnnxFiles,
        device: Device,
        *,
        sampling_rate: int | None = None,
        window_seconds: float | None = None,
        max_seconds: float,
        output: str | None = None,
        max_bytes: int,
    ) -> None:
        self._spec, self._files, self._output, self._max_bytes = spec, files, output, max_bytes
        self._graph = OnnxGraph(files.graph, device, output)
        self._input = self._graph.only_input((2, 3), "sounds [N, samples]")
        self._shape = self._graph.shape_of(self._input)
        self._type = self._graph.type_of(self._input)
        if len(self._shape) == 3 and self._shape[1] not in (1, None):
            raise BadInputError(
                f"{files.graph}: input {self._input!r} has shape {self._shape}: spectrograms or several channels, "
                "while only samples [N, samples] can be given; export the model with its spectrogram inside"
            )
        self._settings = self._audio_settings(sampling_rate, window_seconds, max_seconds)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Preprocessing and output."""
        return {**asdict(self._settings), "output": self._output}

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over graph, weights and settings."""
        return encoder_fingerprint(self._files.weights(), self.settings)

    def load(self, content: Content) -> FloatArray:
        """The windows of a sound file, [windows, samples]."""
        settings = self._settings
        mono = read_sound(
            Path(content), rate=settings.sampling_rate, max_seconds=settings.max_seconds, max_bytes=self._max_bytes
        )
        if not len(mono):
            raise UnreadableContentError("holds no sample at the encoder's rate")
        return windows_of(mono, settings)

    def encode(self, loaded: Sequence[FloatArray]) -> FloatArray:
        """Vectors [N, dim]: the mean over each sound's windows."""
        windows = np.concatenate(list(loaded)).astype(self._type)
        if len(self._shape) == 3:
            windows = windows[:, None, :]
        step = max(len(loaded), 1)  # long sounds have many windows: no more at a time than a batch of short ones has
        parts = [self._graph.run({self._input: windows[at : at + step]}) for at in range(0, len(windows), step)]
        vectors = check_vectors(np.concatenate(parts), len(windows), self._spec)
        ends = np.cumsum([len(part) for part in loaded])
        starts = ends - [len(part) for part in loaded]
        return np.stack([vectors[start:end].mean(axis=0) for start, end in zip(starts, ends, strict=True)])

    def _audio_settings(
        self, sampling_rate: int | None, window_seconds: float | None, max_seconds: float
    ) -> AudioSettings:
        config = self._files.preprocessor() or {}
        found = sampling_rate if sampling_rate is not None else config.get("sampling_rate")
        if not isinstance(found, int) or not RATES[0] <= found <= RATES[1]:
            raise BadInputError(
                f"{self._files.graph}: the sampling rate of the encoder is not known ({found!r}); put "
                f"its preprocessor_config.json beside it, or give --sampling-rate in Hz, {RATES[0]} to {RATES[1]}"
            )
        fixed = self._shape[-1]
        window = round((window_seconds or DEFAULT_WINDOW_SECONDS) * found) if fixed is None or window_seconds else fixed
        if fixed is not None and window != fixed:
            raise BadInputError(
                f"{self._files.graph}: takes {fixed} samples, which are {fixed / found:g} s at {found} Hz, not "
                f"--window-seconds {window_seconds:g}; leave the flag out"
            )
        return AudioSettings(
            sampling_rate=found,
            window=window,
            normalise=bool(config.get("do_normalize", False)),
            max_seconds=max_seconds,
        )


def windows_of(mono: FloatArray, settings: AudioSettings) -> FloatArray:
    """Windows side by side, [windows, samples]; the last is filled with silence, and left out below half a window.

    Args:
        mono: [samples], at least one.
        settings: of the encoder.
    """
    size = settings.window
    count = max(1, (len(mono) + size // 2) // size)
    padded = np.zeros(count * size, np.float32)
    kept = mono[: count * size]
    padded[: len(kept)] = kept
    windows = padded.reshape(count, size)
    if settings.normalise:
        windows = (windows - windows.mean(axis=1, keepdims=True)) / np.sqrt(windows.var(axis=1, keepdims=True) + 1e-7)
    return windows
