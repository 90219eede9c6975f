"""Large arrays go back to the system as soon as nobody holds them, so that a swapped release leaves nothing behind.

By itself, glibc raises its limit for blocks of their own to the largest one that was freed, up to 32 MiB. From then on
the arrays of releases lie in its heaps among small ones, which keep the room of those that have gone: a process with
two releases of 20,000 items in turn grew from 310 to 700 MiB in a hundred swaps, and stays at 250 with a fixed limit.
"""

import ctypes
import sys

LARGE_BYTES = 1024 * 1024
"""A block of this size costs some 0.1 ms to get afresh; what requests need is smaller."""

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
