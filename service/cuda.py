"""Whether this machine has a CUDA device, asked of the driver itself: a wheel that could use one proves nothing."""

import ctypes
import sys


def cuda_device_present() -> bool:
    """True when the CUDA driver is installed and counts at least one device."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
