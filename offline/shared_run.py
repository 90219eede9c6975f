"""The folder of a run that several processes train: one of them writes, the others wait for what it has written."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy.typing as npt
from torch import nn

from offline.processes import current
from offline.recipe_settings import Recipe
from offline.run_folder import RunFolder

TRAINED_TOGETHER = ("graph", "rec_ids", "generator")
"""Stages that all processes enter; what comes behind them is done by the first alone."""


@contextmanager
def shared_run(run: RunFolder) -> Iterator[RunFolder]:
    """The run as this process may use it; the first process holds its lock.

    Raises:
        BadInputError: the folder cannot be made or opened.
        LockedError: another job trains in it.
    """
    processes = current()
    if not processes.is_first:
        yield FollowedRun(run.folder)
        return
    with run.locked():
        yield run if processes.count == 1 else LedRun(run.folder)


class LedRun(RunFolder):
    """For the process that writes: the others are told whether a stage has to be done, and when it is."""

    @contextmanager
    def stage(self, name: str, files: Sequence[str] = ()) -> Iterator[bool]:
        """As in the base class."""
        together = name in TRAINED_TOGETHER
        with super().stage(name, files) as todo:
            if together:
                current().agree(todo)
            yield todo
        if together:
            current().agree(True)


class FollowedRun(RunFolder):
    """For the others: what is read is what the first process wrote, what is written goes nowhere."""

    def begin(
        self,
        recipe: Recipe,
        dataset_fingerprint: str,
        dataset: str,
        *,
        encoders: Mapping[str, str] | None = None,
        warm_start: str | None = None,
    ) -> None:
        """Left to the first process."""

    @contextmanager
    def stage(self, name: str, files: Sequence[str] = ()) -> Iterator[bool]:
        """Whether the first process does the stage; ends when that has left its files."""
        del files
        assert name in TRAINED_TOGETHER, name
        yield bool(current().agree(False))
        current().agree(False)

    def save_checkpoint(self, module: nn.Module, config: Any, stem: Path) -> None:
        """Left to the first process."""

    def write_json(self, name: str, value: Any) -> None:
        """Left to the first process."""

    def save_arrays(self, name: str, arrays: dict[str, npt.NDArray[Any]]) -> None:
        """Left to the first process."""
