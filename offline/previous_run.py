"""The run that a new one starts from, read part by part and held against its own checksums first."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from offline.checkpoint import read_checkpoint
from offline.errors import BadInputError
from offline.run_folder import RunFolder
from service.contract.item_table import ItemTable
from service.contract.rec_id import Int32Array

Int64Array = npt.NDArray[np.int64]
Checkpoint = tuple[dict[str, Any], dict[str, Tensor]]

STAGES = ("graph", "rec_ids", "generator")
"""That have to be finished, and that decide what a run that starts from this one comes to."""


class PreviousRun:
    """A finished run to start from; it is only read.

    Attributes:
        run: its folder.
        digest: of everything that is taken over. A folder that is trained anew in the meantime is another start.

    Raises:
        BadInputError: a stage is not finished, or one of its files is missing or damaged; the message names it.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.digest = run.digest(*STAGES)

    @cached_property
    def _row_of(self) -> dict[str, int]:
        try:
            return ItemTable.from_arrays(self.run.load_arrays("item_table")).row_of()
        except ValueError as error:
            raise BadInputError(f"{self.run.folder}/item_table.npz cannot be used ({error}); train it again") from error

    def rows_of(self, item_ids: Sequence[str]) -> Int64Array:
        """Row that each item had there, -1 where it is new: int64 [N]."""
        return np.array([self._row_of.get(item_id, -1) for item_id in item_ids], np.int64)

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The recipe as `run.json` has it."""
        return dict(self.run.read_json("run.json")["recipe"])

    def keys(self) -> Tensor:
        """Unit keys of its items, by its own rows: [items there, D]."""
        return torch.from_numpy(self.run.load_arrays("vectors")["keys"])

    def rec_ids(self) -> Int32Array:
        """Rec-IDs by its own rows: int32 [items there, levels]."""
        return self.run.load_arrays("rec_ids")["rec_ids"].astype(np.int32)

    def graph_encoder(self) -> Checkpoint:
        """Configuration and weights of the graph encoder."""
        return read_checkpoint(self.run.graph_encoder)

    def graph_rqvae(self) -> Checkpoint:
        """Configuration and weights of the whole Graph RQ-VAE."""
        return read_checkpoint(self.run.graph_rqvae)

    def generator(self) -> Checkpoint:
        """Configuration and weights of the generator."""
        return read_checkpoint(self.run.generator)

    def co_teacher_share(self) -> float | None:
        """Of what teaches its generator beside the graph encoder; None where that was not decided, or not written."""
        return self._share("co_teacher_share")

    def sequence_share(self) -> float | None:
        """How far its sequence encoder moves history states, 0 where it was left out; None likewise."""
        return self._share("sequence_share")

    def _share(self, name: str) -> float | None:
        share = self.run.read_json("teacher.json").get(name)
        if share is None or (isinstance(share, int | float) and not isinstance(share, bool) and 0 <= share <= 1):
            return share
        raise BadInputError(
            f"{self.run.folder}/teacher.json: {name} is {share!r}, not from 0 to 1; train the run again"
        )


def misfit(there: Mapping[str, Any], here: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The first of some settings in which a previous run differs from this one, in words; None where it fits."""
    for name in names:
        before, now = (list(value) if isinstance(value, tuple) else value for value in (there.get(name), here[name]))
        if before != now:
            return f"{name} is {before!r} there and {now!r} here"
    return None
