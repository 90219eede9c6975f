"""What jobs say: progress on standard error (a bar on a terminal, else lines), their result on the other stream."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from offline.losses import Curve, new_curve

LINE_INTERVAL_SECONDS = 10.0


class Task:
    """One piece of long work that is told of every finished step."""

    def __init__(self, name: str, total: int) -> None:
        self.name = name
        self.total = total
        self.done = 0
        self._started = self._last_line = time.monotonic()
        self._curve: Curve | None = None

    def advance(self, note: str = "", steps: int = 1, *, loss: float | None = None) -> None:
        """More steps are done; `note` says how it goes. A `loss` is shown, and kept where losses are recorded."""
        self.done += steps
        if loss is not None:
            self._curve = self._curve or new_curve(self.name)
            self._curve.add(loss)
            note = f"loss {loss:.4f} {note}".rstrip()
        self._show(note)

    def _show(self, note: str) -> None:
        now = time.monotonic()
        if self.done == self.total or now - self._last_line >= LINE_INTERVAL_SECONDS:
            self._last_line = now
            say(f"{self.name}: {self.done}/{self.total} {note} ({now - self._started:.0f} s)")


class _BarTask(Task):
    def __init__(self, name: str, total: int, bar: Progress) -> None:
        super().__init__(name, total)
        self._bar = bar
        self._id = bar.add_task(name, total=total, note="")

    def _show(self, note: str) -> None:
        self._bar.update(self._id, completed=self.done, note=note)


@contextmanager
def task(name: str, total: int) -> Iterator[Task]:
    """Show the progress of `total` steps on standard error."""
    if not sys.stderr.isatty():
        yield Task(name, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield _BarTask(name, total, bar)


def say(line: str) -> None:
    """One plain line on standard error; standard output belongs to a job's result."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def result(found: dict[str, Any]) -> None:
    """What a job found: one line of JSON on standard output."""
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
