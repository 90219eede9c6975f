"""Peak memory of the process, and of a piece of its work."""

import resource
import sys
from pathlib import Path

RESET = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")

_before_resets = 0


class PeakMemory:
    """The largest resident set since this was made: of the whole process, dataset and libraries included.

    Where the system cannot start a peak anew (anything but Linux) it is that of the process so far. One at a time:
    a later one restarts the peak of an earlier.
    """

    def __init__(self) -> None:
        global _before_resets
        _before_resets = max(_before_resets, _since_reset())
        try:
            RESET.write_text("5")  # man 5 proc: resets the peak resident set size
        except OSError:
            return

    def bytes(self) -> int:
        """The peak up to now."""
        return _since_reset()


def peak_bytes() -> int:
    """The largest resident set that the process has ever had, whatever was measured in it meanwhile."""
    return max(_before_resets, _since_reset())


def _since_reset() -> int:
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
