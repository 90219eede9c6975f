"""The feature arrays of a dataset folder (design, section 3): read and checked once at the door."""

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from offline import progress
from offline.array_header import read_header, require_whole
from offline.errors import BadInputError


def read_features(
    folder: Path, num_items: int, rows: npt.NDArray[np.int64] | None = None
) -> dict[str, npt.NDArray[np.float32]]:
    """Reads and checks every `<modality>.npy` of the features folder.

    Args:
        folder: the features folder; where it is absent there are no features, which is allowed.
        num_items: how many rows every file must have.
        rows: reads and checks these alone; None for all.

    Returns:
        Modality -> float32 [num_items or len(rows), dim], in the order of the names. A row that is all NaN means that
        the item lacks this modality; a file in which no item has it is left out with a warning.

    Raises:
        BadInputError: a file whose name cannot name a modality, that is not a 2-D float .npy with a row per item, or
            holds infinities or rows that are NaN in part.
    """
    paths = sorted(folder.glob("*.npy"))
    for path in paths:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", path.stem):
            raise BadInputError(
                f"{path}: {path.stem!r} cannot name a modality; rename the file with letters, digits, '_' and '-'"
            )
    features = {path: _read_feature(path, num_items, rows) for path in paths}
    empty = [path for path, vectors in features.items() if np.isnan(vectors[:, 0]).all()]  # a row is NaN as a whole
    for path in empty:
        progress.say(
            f"warning: {path}: every row is NaN, so no item has this modality and it is left out; remove the file or "
            "write it again"
        )
    return {path.stem: vectors for path, vectors in features.items() if path not in empty}


def _read_feature(path: Path, num_items: int, rows: npt.NDArray[np.int64] | None) -> npt.NDArray[np.float32]:
    _check_header(path, num_items)
    try:
        vectors = _load(path, rows)
    except (ValueError, OSError, EOFError) as error:
        raise BadInputError(
            f"{path}: cannot be read as an array of numbers ({error}); write 2-D float16 or float32 with np.save"
        ) from error
    except MemoryError as error:
        raise BadInputError(
            f"{path}: does not fit into this machine's memory ({error}); write fewer columns, or take a machine with "
            "more memory"
        ) from error
    _check_values(vectors, path, np.arange(num_items) if rows is None else rows)
    return vectors


def _check_header(path: Path, num_items: int) -> None:
    header = read_header(path)
    shape, dtype = header.shape, header.dtype
    if dtype.kind != "f":
        raise BadInputError(f"{path}: holds {dtype}, not floats; write it with np.save as float16 or float32")
    if len(shape) != 2 or shape[1] < 1:
        raise BadInputError(f"{path}: has shape {shape}; write a 2-D array [{num_items} items, at least 1 column]")
    if shape[0] != num_items:
        raise BadInputError(
            f"{path}: has {shape[0]} rows, but items.parquet has {num_items} items; row r must belong to row r of "
            f"items.parquet, with a row of NaN where an item lacks this modality"
        )
    require_whole(path, header)


def _load(path: Path, rows: npt.NDArray[np.int64] | None) -> npt.NDArray[np.float32]:
    if rows is None:
        with path.open("rb") as file:
            stored = np.load(file, allow_pickle=False)
    else:
        stored = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False)[rows])
    with np.errstate(over="ignore"):  # a float64 too large for float32 becomes an infinity, which is refused later
        vectors: npt.NDArray[np.float32] = stored.astype(np.float32, copy=False)
    return vectors


def _check_values(vectors: npt.NDArray[np.float32], path: Path, rows: npt.NDArray[np.int64]) -> None:
    with np.errstate(invalid="ignore"):  # inf - inf
        sums = vectors.sum(axis=1, dtype=np.float64)  # not finite exactly where a value of the row is not
    suspects = np.flatnonzero(~np.isfinite(sums))
    infinite = np.isinf(vectors[suspects])
    if infinite.any():
        _refuse_cell(
            path, rows[suspects], infinite, "infinite", "replace it, or make the whole row NaN if it is missing"
        )
    absent = np.isnan(vectors[suspects])
    partly = absent & ~absent.all(axis=1, keepdims=True)
    if partly.any():
        _refuse_cell(
            path, rows[suspects], partly, "NaN in part of a row", "make the whole row NaN (missing) or fill the value"
        )


def _refuse_cell(path: Path, rows: npt.NDArray[np.int64], bad: npt.NDArray[np.bool_], problem: str, cure: str) -> None:
    at, column = np.argwhere(bad)[0]
    count = int(bad.any(axis=1).sum())
    raise BadInputError(f"{path}: row {rows[at]}, column {column}: {problem} ({count} such rows); {cure}")
