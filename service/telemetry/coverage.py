"""How much of the catalogue people get to see: distinct items in the answers of the last hour, over all items."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

WINDOW_SECONDS = 3600.0


class Covered(NamedTuple):
    """Coverage of one release.

    Attributes:
        release: its version.
        items: distinct items returned within the window.
        num_items: items of the release.
    """

    release: str
    items: int
    num_items: int


class Coverage:
    """One byte for each item, twice: marks of the present half of the window, and of the half before.

    So an item counts for half an hour at least and an hour at most, in constant memory. Another release starts anew:
    its rows are other items. While two arms are served, each keeps its own marks.

    Args:
        clock: seconds that only grow; tests pass their own.
    """

    MOST_RELEASES = 2  # arms that are served side by side

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # answers come from the event loop, scrapes from another thread
        self._half_ends = clock() + WINDOW_SECONDS / 2
        self._present: dict[str, bytearray] = {}
        self._before: dict[str, bytearray] = {}

    def returned(self, release: str, num_items: int, rows: Sequence[int]) -> None:
        """Item rows went out in an answer."""
        with self._lock:
            self._turn()
            marks = self._present.get(release)
            if marks is None:
                marks = self._begin(release, num_items)
            for row in rows:
                marks[row] = 1

    def covered(self) -> list[Covered]:
        """Coverage of the releases that answered within the window."""
        with self._lock:
            self._turn()
            releases = dict.fromkeys([*self._before, *self._present])
            return [self._covered(release) for release in releases]

    def _covered(self, release: str) -> Covered:
        halves = [half[release] for half in (self._before, self._present) if release in half]
        marks = np.bitwise_or.reduce([np.frombuffer(bytes(half), np.uint8) for half in halves])
        return Covered(release, int(np.count_nonzero(marks)), len(marks))

    def _begin(self, release: str, num_items: int) -> bytearray:
        for half in (self._present, self._before):
            for old in [each for each in half if each != release][: max(0, len(half) - self.MOST_RELEASES + 1)]:
                del half[old]
        marks = self._present[release] = bytearray(num_items)
        return marks

    def _turn(self) -> None:
        """Begin another half when the present one has passed."""
        now = self._clock()
        if now < self._half_ends:
            return
        half = WINDOW_SECONDS / 2
        halves = int((now - self._half_ends) // half) + 1  # more than one where nobody came for so long
        self._before, self._present = (self._present if halves == 1 else {}), {}
        self._half_ends += halves * half
