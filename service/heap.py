"""How this process keeps its memory.

Large arrays go back to the system as soon as nobody holds them, so that a swapped release leaves nothing behind.

By itself, glibc raises its limit for blocks of their own to the largest one that was freed, up to 32 MiB. From then on
the arrays of releases lie in its heaps among small ones, which keep the room of those that have gone: a process with
two releases of 20,000 items in turn grew to 710 MiB in a hundred swaps, and stays below 350 with a fixed limit.
"""

import ctypes
import gc
import sys

LARGE_BYTES = 4 * 2**20
"""Chunks and vectors of releases are larger; what a request needs is smaller, and is not fetched afresh every time."""

YOUNG_OBJECTS = 10_000
"""Objects that are new before Python looks for cycles among them. By itself it looks after 700, several times in one
batch of answers; what answers are made of has no cycles."""

_M_MMAP_THRESHOLD = -3  # <malloc.h>


def return_large_blocks() -> bool:
    """Give blocks from `LARGE_BYTES` on memory of their own, for the rest of the process.

    Returns:
        Whether the C library of this system was told; others than glibc manage without, or cannot be told.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES) == 1


def look_for_cycles_less_often() -> None:
    """For the rest of the process."""
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
