"""MMRec's folders: `.inter` with userID, itemID and x_label (0 train, 1 valid, 2 test), and one `.npy` per modality.

Items are numbered from 0; row r of every array belongs to item r.
"""

from pathlib import Path
from typing import Final

import polars as pl

from offline.errors import BadInputError
from offline.importing.carried_features import open_features
from offline.importing.column_guess import LOG_GUESSES, guess_columns
from offline.importing.formats.layout import Layout
from offline.importing.source_files import SourceFile
from offline.importing.tables import Table, columns_of

_SPLITS: Final = {"0": "train", "1": "valid", "2": "test"}
_LABEL: Final = "x_label"
_ENDING: Final = "_feat"


def mmrec_layout(files: list[SourceFile]) -> Layout | None:
    """The layout of a folder of MMRec; None where there is no `.inter`."""
    logs = tuple(file for file in files if file.suffix == ".inter")
    if not logs:
        return None
    log = Table(files=logs, kind="csv", delimiter="\t", quoted=False)
    columns = columns_of(log)
    guess = guess_columns(columns, LOG_GUESSES)
    arrays = {_modality(file): file for file in files if file.suffix == ".npy"}
    has_label = _LABEL in columns
    return Layout(
        format="mmrec",
        log=log,
        mapping=guess.mapping | ({"split": _LABEL} if has_label else {}),
        split_names=_SPLITS if has_label else None,
        items=(lambda folder: _numbered_items(list(arrays.values()), folder)) if arrays else None,
        items_name=next((file.name for file in arrays.values()), ""),
        features=arrays,
        notes=(*guess.reasons, *((f"split = column {_LABEL!r} (0 train, 1 valid, 2 test)",) if has_label else ())),
    )


def num_rows(file: SourceFile, scratch: Path) -> int:
    """How many items an array has.

    Raises:
        BadInputError: it is no 2-D array of floats.
    """
    with file.local(scratch) as path:
        return len(open_features(path, None))


def _modality(file: SourceFile) -> str:
    return Path(file.base_name).stem.removesuffix(_ENDING)


def _numbered_items(arrays: list[SourceFile], scratch: Path) -> pl.DataFrame:
    heights = {file.name: num_rows(file, scratch) for file in arrays}
    if len(set(heights.values())) > 1:
        said = ", ".join(f"{name} {rows}" for name, rows in heights.items())
        raise BadInputError(f"the arrays have different numbers of rows ({said}); one row per item, in all of them")
    return pl.DataFrame({"item_id": [str(number) for number in range(next(iter(heights.values())))]})
