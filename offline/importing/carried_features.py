"""Features of a dataset folder whose items change: rows follow their items, and new items have none yet."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from offline.array_header import read_header, require_whole
from offline.errors import BadInputError
from offline.file_digest import sha256_of_file
from offline.whole_files import write_json

_ROWS_TOGETHER: Final = 65_536


class CarriedFeatures(NamedTuple):
    """What became of one modality."""

    rows: int  # with a vector
    missing: int  # of NaN: the source lacks the item, or has such a row for it


def write_features(
    sources: Mapping[str, Path], source_ids: pl.Series, item_ids: pl.Series, folder: Path
) -> dict[str, CarriedFeatures]:
    """Write `<modality>.npy` with one row per item, taken from arrays in another order; NaN where those lack the item.

    Args:
        sources: modality -> .npy, float [len(source_ids), dim].
        source_ids: the item of every row of the sources.
        item_ids: of items.parquet.
        folder: the features folder to write; made if there is anything to write.

    Raises:
        BadInputError: a source is no array of floats with a row per item of its own.
    """
    places = pl.Series(source_ids).to_frame("item_id").with_row_index("place")
    wanted = item_ids.to_frame("item_id").join(places, on="item_id", how="left", maintain_order="left")["place"]
    rows = wanted.cast(pl.Int64).fill_null(-1).to_numpy()
    written = {}
    for modality, path in sources.items():
        source = open_features(path, len(source_ids))
        folder.mkdir(exist_ok=True)
        missing = _write(source, rows, folder / f"{modality}.npy")
        written[modality] = CarriedFeatures(len(rows) - missing, missing)
    return written


def carry_features(old: Path, old_ids: pl.Series, item_ids: pl.Series, folder: Path) -> dict[str, CarriedFeatures]:
    """Bring the features of a dataset folder into another one, with what lies beside them.

    A description that `encode` wrote describes the new array afterwards, and its vectors stay known, so that it pays
    for new items only.
    """
    if not (old / "features").is_dir():
        return {}
    arrays = {path.stem: path for path in sorted((old / "features").glob("*.npy"))}
    carried = write_features(arrays, old_ids, item_ids, folder)
    for path in sorted((old / "features").iterdir()):
        if path.suffix == ".npy" and path.is_file():
            continue
        folder.mkdir(exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, folder / path.name, symlinks=True, copy_function=_link_or_copy)
        elif path.suffix == ".json" and path.stem in carried:
            _carry_description(path, arrays[path.stem], folder, carried[path.stem])
        else:
            shutil.copyfile(path, folder / path.name)
    return carried


def open_features(path: Path, num_rows: int | None) -> npt.NDArray[Any]:
    """An array of features, mapped and not read.

    Raises:
        BadInputError: it is not 2-D floats with `num_rows` rows, or ends before them; None for any number of them.
    """
    header = read_header(path)
    shape, dtype = header.shape, header.dtype
    if dtype.kind != "f" or len(shape) != 2 or shape[1] < 1:
        raise BadInputError(f"{path}: holds {dtype} of shape {shape}; write a 2-D array of floats with a row per item")
    if num_rows is not None and shape[0] != num_rows:
        raise BadInputError(
            f"{path}: has {shape[0]} rows for {num_rows} items; row r must belong to item r of its own source: "
            "write the array again from the same items"
        )
    require_whole(path, header)
    found: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return found


def _carry_description(path: Path, old_array: Path, folder: Path, carried: CarriedFeatures) -> None:
    """What does not describe the old array is copied as it is: it does not describe the new one either."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        said = None
    if not isinstance(said, dict) or said.get("sha256") != sha256_of_file(old_array):
        shutil.copyfile(path, folder / path.name)
        return
    counts = {"items": carried.rows + carried.missing, "missing": carried.missing}
    write_json(folder / path.name, {**said, **counts, "sha256": sha256_of_file(folder / old_array.name)})


def _link_or_copy(source: str, target: str) -> None:
    """A link costs nothing, and only one of the two folders stays."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copyfile(source, target)


def _write(source: npt.NDArray[Any], rows: npt.NDArray[np.int64], path: Path) -> int:
    """Returns how many rows are NaN."""
    kind = np.float16 if source.dtype == np.float16 else np.float32
    missing = 0
    target = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=(len(rows), source.shape[1]))
    for start in range(0, len(rows), _ROWS_TOGETHER):
        part = rows[start : start + _ROWS_TOGETHER]
        values = np.full((len(part), source.shape[1]), np.nan, kind)
        values[part >= 0] = source[part[part >= 0]].astype(kind)
        target[start : start + len(part)] = values
        missing += int(np.isnan(values).all(axis=1).sum())
    target.flush()
    return missing
