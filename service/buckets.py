"""Shapes that are prepared before serving, where a fixed shape pays: on CUDA, as CUDA graphs."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from service.contract.decoder_graph import BEAM_SLOTS, FILTER_SLOTS, HISTORY, ONLY_LISTED, listed_name
from service.contract.manifest import ModelSettings
from service.onnx_session import Arrays

LISTED = listed_name(0).removesuffix("0")


class Bucket(NamedTuple):
    """A shape that is prepared before serving: requests up to it are padded to it.

    Attributes:
        batch: requests.
        history: slots of the history.
        beam_width: exactly this one.
        listed: nodes per level in the lists of exclusions or candidates.
    """

    batch: int
    history: int
    beam_width: int
    listed: int

    def holds(self, inputs: Arrays) -> bool:
        """Whether a batch's arrays fit."""
        batch, history = inputs[HISTORY].shape
        longest = max(array.shape[1] for name, array in inputs.items() if name.startswith(LISTED))
        return (
            self.beam_width == len(inputs[BEAM_SLOTS])
            and batch <= self.batch
            and history <= self.history
            and longest <= self.listed
        )

    def pad(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """The same arrays in this shape: empty slots, lists that name nothing, requests that nobody reads."""
        padded = dict(inputs)
        for name, array in inputs.items():
            if name == BEAM_SLOTS:
                continue
            columns = {HISTORY: self.history, ONLY_LISTED: 1}.get(name, self.listed)
            shape = (self.batch,) if array.ndim == 1 else (self.batch, columns)
            empty = 0 if name in (FILTER_SLOTS, ONLY_LISTED) else -1
            padded[name] = np.full(shape, empty, array.dtype)
            padded[name][tuple(map(slice, array.shape))] = array
        return padded


def default_buckets(settings: ModelSettings) -> tuple[Bucket, ...]:
    """What is captured on CUDA: the default tier, lists of a user with a long history, batches by powers of four."""
    return tuple(Bucket(batch, settings.max_history, settings.beam_widths[0], 256) for batch in (1, 4, 16, 64, 256))
