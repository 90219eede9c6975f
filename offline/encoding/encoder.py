"""What every encoder can do, and the errors of what it is given."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from offline.errors import BadInputError

FloatArray = npt.NDArray[np.float32]
Content = str | Path
"""What an item has: a text, or a file with its image or sound."""

EXTRA = "pip install 'mmgrec[encode]'"


class UnreadableContentError(ValueError):
    """One item's content cannot be had or read; the item gets a row of NaN, and the message is its reason."""


class Encoder(Protocol):
    """Turns contents into vectors."""

    @property
    def fingerprint(self) -> str:
        """sha256 over weights and preprocessing settings, hex."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What decides the vectors beside the weights, as JSON."""

    def load(self, content: Content) -> Any:
        """What `encode` takes, from one content; called on several threads.

        Raises:
            UnreadableContentError: it cannot be read.
        """

    def encode(self, loaded: Sequence[Any]) -> FloatArray:
        """Vectors [N, dim] of N loaded contents."""


def check_vectors(vectors: npt.NDArray[Any], count: int, encoder: str) -> FloatArray:
    """What an encoder gave, as float32 [count, dim], if that is what it is.

    Raises:
        BadInputError: another shape, or values that are not finite.
    """
    if vectors.ndim != 2 or len(vectors) != count or vectors.shape[1] == 0:
        raise BadInputError(
            f"encoder {encoder} gave an array of shape {vectors.shape} for {count} contents; it must give "
            f"[{count}, dim]: name another output with --output, or take another encoder"
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused below
        vectors = vectors.astype(np.float32, copy=False)
    bad = ~np.isfinite(vectors).all(axis=1)
    if bad.any():
        raise BadInputError(
            f"encoder {encoder} gave values that are not finite for {int(bad.sum())} of {count} contents (the first is "
            f"number {int(bad.argmax())} of the batch); check its preprocessing (mean, std), or take another encoder"
        )
    return vectors
