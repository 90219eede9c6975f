"""Loss curves: what the training loops tell of every step, gathered by whoever keeps the files of a stage.

A loop says its loss to its progress (`Task.advance(loss=...)`) and knows nothing of files; `recorded` collects all that
is said within it, whichever function the loop stands in.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

MOST_POINTS = 200
"""Points of a curve that is kept: a plot shows no more."""

JsonCurve = dict[str, list[int] | list[float]]


class Curve:
    """The losses of one loop, in its order."""

    def __init__(self) -> None:
        self._losses: list[float] = []

    def add(self, loss: float) -> None:
        """The loss of the next step."""
        self._losses.append(loss)

    def as_json(self) -> JsonCurve:
        """Means over windows of equal length, at most `MOST_POINTS` of them: `steps` is how many were done by then."""
        size = max(1, -(-len(self._losses) // MOST_POINTS))
        windows = [self._losses[start : start + size] for start in range(0, len(self._losses), size)]
        ends = [min(start + size, len(self._losses)) for start in range(0, len(self._losses), size)]
        return {"steps": ends, "loss": [round(sum(window) / len(window), 6) for window in windows]}


class Recorder:
    """The curves of one stage by name; a loop that runs a second time is `name (2)`."""

    def __init__(self) -> None:
        self._curves: dict[str, Curve] = {}

    def new(self, name: str) -> Curve:
        """An empty curve under that name, or the first free number behind it."""
        number, free = 1, name
        while free in self._curves:
            number += 1
            free = f"{name} ({number})"
        self._curves[free] = Curve()
        return self._curves[free]

    def as_json(self) -> dict[str, JsonCurve]:
        """All curves, in the order in which they began."""
        return {name: curve.as_json() for name, curve in self._curves.items()}


_recorder: ContextVar[Recorder | None] = ContextVar("recorder of losses", default=None)


def new_curve(name: str) -> Curve:
    """A curve for a loop; nobody reads it where nothing is recorded."""
    recorder = _recorder.get()
    return Curve() if recorder is None else recorder.new(name)


@contextmanager
def recorded(write: Callable[[dict[str, JsonCurve]], None]) -> Iterator[None]:
    """Hand the losses of all that is trained inside to `write`, at the end; after an error nothing is written."""
    recorder = Recorder()
    token = _recorder.set(recorder)
    try:
        yield
    finally:
        _recorder.reset(token)
    write(recorder.as_json())
