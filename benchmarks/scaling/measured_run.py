"""A run folder that notes time and peak memory of every stage, and how long the steps of every loop took."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

from offline import progress
from offline.peak_memory import PeakMemory
from offline.run_folder import RunFolder


class Measured(NamedTuple):
    """Seconds by the clock and of the processor, and the largest resident set of the whole process meanwhile."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


class Loop(NamedTuple):
    """Steps of a loop, and the seconds by the clock and of the processor that they took together."""

    steps: int
    seconds: float
    cpu_seconds: float


def _stopwatch() -> Callable[[], tuple[float, float]]:
    """Seconds by the clock and of the processor (all threads) since now."""
    clock, processor = time.perf_counter(), time.process_time()
    return lambda: (time.perf_counter() - clock, time.process_time() - processor)


class Stopwatch:
    """Time and memory of named parts.

    Attributes:
        parts: what was measured, by name.
        loops: by the name that a loop gives its progress.
    """

    def __init__(self) -> None:
        self.parts: dict[str, Measured] = {}
        self.loops: dict[str, Loop] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Measure what is done inside."""
        peak = PeakMemory()
        elapsed = _stopwatch()
        yield
        self.parts[name] = Measured(*elapsed(), peak.bytes())

    def listening(self) -> AbstractContextManager[Any]:
        """Hear of every loop that shows its progress."""
        shown = progress.task

        @contextmanager
        def timed(name: str, total: int) -> Iterator[progress.Task]:
            elapsed = _stopwatch()
            with shown(name, total) as task:
                yield task
                self.loops[name] = Loop(task.done, *elapsed())

        return patch.object(progress, "task", timed)


class MeasuredRun(RunFolder):
    """A run whose stages go by a stopwatch."""

    def __init__(self, run: RunFolder, stopwatch: Stopwatch) -> None:
        super().__init__(run.folder)
        self._stopwatch = stopwatch

    @contextmanager
    def stage(self, name: str, files: Sequence[str] = ()) -> Iterator[bool]:
        """As in the base class."""
        with super().stage(name, files) as todo, self._stopwatch.part(name):
            yield todo
