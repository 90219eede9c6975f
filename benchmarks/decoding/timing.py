"""Timing that survives a noisy machine: methods take turns, and ratios are formed turn by turn."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Method = Callable[[], object]

GEMM_SHAPES = ((512, 512, 512), (1024, 1024, 1024), (640, 128, 256), (640, 256, 128), (672, 128, 384))
"""(rows, inner, columns): large ones, and ones of the size that a batch of 32 brings."""


@dataclass(frozen=True)
class Timings:
    """Seconds of every call of one method, by turn."""

    turns: list[list[float]] = field(default_factory=list)

    @property
    def seconds(self) -> npt.NDArray[np.float64]:
        """All calls."""
        return np.concatenate(self.turns)

    @property
    def median_seconds(self) -> float:
        """Median of all calls."""
        return float(np.median(self.seconds))

    def over(self, other: "Timings") -> float:
        """How many times as long as another method that took turns with this one: the median over the turns."""
        pairs = zip(self.turns, other.turns, strict=True)
        return float(np.median([np.median(mine) / np.median(theirs) for mine, theirs in pairs]))

    def summary(self) -> dict[str, float | int]:
        """Percentiles in milliseconds. Where the fastest call is far from the median, the machine was busy."""
        least, p50, p99 = (round(float(each), 4) for each in np.percentile(self.seconds, [0, 50, 99]) * 1e3)
        return {"p50_ms": p50, "p99_ms": p99, "fastest_ms": least, "calls": len(self.seconds)}


GEMM_REPEATS = 3
"""A few at a time: the best of all times counts, and there are many times."""


def alternate(
    methods: Mapping[str, Method], *, turns: int, turn_seconds: float, between: Method | None = None
) -> dict[str, Timings]:
    """Let methods take turns: A, B, C, A, B, C, ...

    In a turn a method runs for `turn_seconds`, at least once. Its first call warms up what the others have thrown out
    of the caches and is not counted, unless it alone fills the turn.

    Args:
        methods: what to time, by name.
        turns: how often each one's turn comes.
        turn_seconds: length of a turn.
        between: what to do, untimed, before every round of turns.
    """
    timings = {name: Timings() for name in methods}
    for method in methods.values():
        method()
    for _ in range(turns):
        if between:
            between()
        for name, method in methods.items():
            timings[name].turns.append(_turn(method, turn_seconds))
    return timings


def _turn(method: Method, turn_seconds: float) -> list[float]:
    calls: list[float] = []
    end = time.perf_counter() + turn_seconds
    while True:
        started = time.perf_counter()
        method()
        now = time.perf_counter()
        calls.append(now - started)
        if now >= end:
            return calls[1:] or calls


class GemmRate:
    """The best rate of a matrix product on one thread that this process has seen, in multiply-adds per second."""

    def __init__(self) -> None:
        self.best = 0.0
        self.by_shape = dict.fromkeys(GEMM_SHAPES, 0.0)
        self._pairs = {shape: (torch.randn(shape[:2]), torch.randn(shape[1:])) for shape in GEMM_SHAPES}

    def measure(self) -> None:
        """Look again; the machine may have become faster."""
        for shape, (left, right) in self._pairs.items():
            seconds = []
            for _ in range(GEMM_REPEATS):
                started = time.perf_counter()
                left @ right
                seconds.append(time.perf_counter() - started)
            rate = shape[0] * shape[1] * shape[2] / min(seconds)
            self.by_shape[shape] = max(self.by_shape[shape], rate)
            self.best = max(self.best, rate)

    def summary(self) -> dict[str, Any]:
        """Billions of multiply-adds per second."""
        shapes = {"x".join(map(str, shape)): round(rate / 1e9, 2) for shape, rate in self.by_shape.items()}
        return {"best_gmacs": round(self.best / 1e9, 2), "by_shape": shapes}
