"""Memory of large arrays comes back, in a process of its own: what is set holds for the whole process."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEFT_BEHIND = """
import os
import sys
from pathlib import Path
from service.heap import return_large_blocks

def resident_mib():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

if sys.argv[1] == "told":
    assert return_large_blocks()
before = resident_mib()
large = bytearray(b"1") * (30 * 2**20)
del large  # from here on glibc takes blocks of this size from its heap
arrays, small = [], []
for _ in range(20):
    arrays.append(bytearray(b"1") * (8 * 2**20))
    small.append(bytearray(b"1") * 50_000)
assert resident_mib() - before > 150
arrays.clear()
print(round(resident_mib() - before))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps what was freed")
def test_what_large_arrays_took_goes_back_although_small_ones_stay() -> None:
    left = {}
    for mode in ("told", "not told"):
        done = subprocess.run(
            [sys.executable, "-c", LEFT_BEHIND, mode], cwd=ROOT, capture_output=True, text=True, check=True
        )
        left[mode] = int(done.stdout)
    assert left["told"] < 20
    assert left["not told"] > 100  # else this test shows nothing
