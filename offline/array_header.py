"""What the header of an .npy file claims, looked at before anything is allocated: a claim costs nothing to write."""

import math
import tokenize
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from offline.errors import BadInputError

ARCHIVE = b"PK"
"""How a zip begins, and so an .npz."""

DAMAGED = (ValueError, TypeError, ArithmeticError, RecursionError, MemoryError, EOFError, OSError, tokenize.TokenError)
"""What numpy lets through of the parser of Python that it reads a header with."""


class ArrayHeader(NamedTuple):
    """The claim of a file.

    Attributes:
        shape: of the array.
        dtype: of its numbers.
        start: byte of the file at which they begin.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int


def read_header(path: Path) -> ArrayHeader:
    """The header of an .npy file.

    Raises:
        BadInputError: it has none, or one that nobody can read.
    """
    try:
        with path.open("rb") as file:
            archive = file.read(len(ARCHIVE)) == ARCHIVE
            file.seek(0)
            if not archive:
                read = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
                shape, _, dtype = read(file)
                if any(type(size) is not int or size < 0 for size in shape):
                    raise ValueError(f"its header claims shape {shape}")
                return ArrayHeader(shape, dtype, file.tell())
    except DAMAGED as error:
        raise BadInputError(
            f"{path}: cannot be read as an array of numbers ({error}); write 2-D float16 or float32 with np.save"
        ) from error
    raise BadInputError(f"{path}: holds an .npz archive, not floats; write it with np.save as float16 or float32")


def require_whole(path: Path, header: ArrayHeader) -> None:
    """Refuse a file that ends before the array that it claims.

    Raises:
        BadInputError: it does; names the shape, the bytes of it and those that there are.
    """
    claimed, held = math.prod(header.shape) * header.dtype.itemsize, path.stat().st_size - header.start
    if claimed > held:
        raise BadInputError(
            f"{path}: its header claims shape {header.shape} of {header.dtype}, which is {claimed} bytes, but {held} "
            "follow: the file is cut short or its header is damaged; write it again with np.save"
        )
