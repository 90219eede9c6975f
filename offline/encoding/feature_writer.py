"""The features file of a modality and its description, written whole and put in place together."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from offline.encoding.encoder import Encoder
from offline.encoding.fingerprints import FeatureDescription, description_file, write_description
from offline.encoding.request import EncodeRequest
from offline.encoding.row_cache import RowCache
from offline.errors import BadInputError, JobError
from offline.whole_files import whole_file

_ROWS_AT_A_TIME = 4096


class WrittenArray(NamedTuple):
    """An array on disk."""

    dim: int
    sha256: str


def write_features(
    request: EncodeRequest, encoder: Encoder, keys: Mapping[int, bytes], num_items: int, cache: RowCache
) -> int:
    """Writes `features/<name>.npy`, then `<name>.json`, each whole or not at all; returns dim.

    A kill between the two leaves a description of another array, which `read_fingerprints` notices and encoding again
    mends at once, because all vectors are kept.

    Args:
        request: names the files.
        encoder: that made the vectors.
        keys: row to the key of its vector; a row without one becomes NaN.
        num_items: rows.
        cache: holds all those vectors.

    Raises:
        BadInputError: there is no vector, they differ in length, or float16 cannot hold one.
        JobError: the disk does not take them.
    """
    features = request.data / "features"
    target = features / f"{request.name}.npy"
    for left in features.glob(f"{request.name}.*.part"):  # by a job that was killed
        left.unlink(missing_ok=True)
    try:
        with whole_file(target) as temporary:
            written = _write_array(temporary, request, keys, num_items, cache)
        settings = {**encoder.settings, "dtype": request.dtype, "columns": list(request.columns)}
        description = FeatureDescription(
            encoder=request.encoder,
            fingerprint=encoder.fingerprint,
            dim=written.dim,
            items=num_items,
            missing=num_items - len(keys),
            modality=request.modality,
            settings=settings,
            sha256=written.sha256,
        )
        write_description(description_file(features, request.name), description)
    except OSError as error:
        raise JobError(
            f"{target} cannot be written ({error}); make room and encode again: what is finished is kept"
        ) from error
    return written.dim


def _write_array(
    path: Path, request: EncodeRequest, keys: Mapping[int, bytes], num_items: int, cache: RowCache
) -> WrittenArray:
    """Row after row, so that memory does not follow the catalogue."""
    if not keys:
        raise BadInputError(f"{request.data}: no content of any item could be encoded; nothing was written")
    dim = len(next(iter(cache.read([next(iter(keys.values()))]).values())))
    dtype = np.dtype(request.dtype)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": dtype.str, "fortran_order": False, "shape": (num_items, dim)}
        )
        for block in _blocks(request, keys, num_items, dim, cache):
            file.write(block.tobytes())
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return WrittenArray(dim, digest.hexdigest())


def _blocks(
    request: EncodeRequest, keys: Mapping[int, bytes], num_items: int, dim: int, cache: RowCache
) -> Iterator[npt.NDArray[np.floating]]:
    for start in range(0, num_items, _ROWS_AT_A_TIME):
        rows = range(start, min(start + _ROWS_AT_A_TIME, num_items))
        wanted = {row: keys[row] for row in rows if row in keys}
        vectors = cache.read(list(dict.fromkeys(wanted.values())))
        block = np.full((len(rows), dim), np.nan, np.float32)
        for row, key in wanted.items():
            if len(vectors[key]) != dim:
                raise BadInputError(
                    f"encoder {request.encoder} gave vectors of {dim} and of {len(vectors[key])} numbers; take one "
                    "whose output has one length"
                )
            block[row - start] = vectors[key]
        with np.errstate(over="ignore"):
            stored = block.astype(request.dtype)
        if np.isinf(stored).any():
            raise BadInputError(
                f"encoder {request.encoder} gives {np.nanmax(np.abs(block)):g}, which float16 cannot hold; "
                "take --dtype float32"
            )
        yield stored
