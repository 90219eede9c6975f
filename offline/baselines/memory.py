"""Peak memory of a piece of work."""

import resource
import sys
from pathlib import Path

RESET = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")


def reset_peak() -> None:
    """Let the peak start anew where the system can (Linux); elsewhere it stays the peak of the whole process."""
    try:
        RESET.write_text("5")  # man 5 proc: resets the peak resident set size
    except OSError:
        return


def peak_bytes() -> int:
    """The largest resident set since `reset_peak`: of the whole process, dataset and libraries included."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
