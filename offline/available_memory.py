"""What this machine has of memory to give."""

import os
from pathlib import Path

MEMORY_INFO = Path("/proc/meminfo")


def available_bytes() -> int:
    """Memory that this machine can give without swapping: all of it where the system does not tell."""
    try:
        lines = MEMORY_INFO.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
