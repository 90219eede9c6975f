"""Where the decoder may run, and whether this machine has a CUDA device.

The driver itself is asked: a wheel that could use a device proves nothing.
"""

import ctypes
import sys
from typing import Literal

Device = Literal["auto", "cpu", "cuda", "tensorrt"]


def cuda_device_present() -> bool:
    """True when the CUDA driver is installed and counts at least one device."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
