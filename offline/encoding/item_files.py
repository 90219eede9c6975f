"""Where the image or sound of every item is: a column of paths and URLs, or a folder of files named by item id."""

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Literal, NamedTuple

import polars as pl

from offline.encoding.texts import read_content_columns
from offline.errors import BadInputError

SUFFIXES = {
    "image": (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    "audio": (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff"),
}


class Sources(NamedTuple):
    """Where contents come from, by row of items.parquet; an item without one stands in neither."""

    files: dict[int, Path]
    urls: dict[int, str]


def item_sources(
    path: Path,
    item_ids: Sequence[str],
    *,
    modality: Literal["image", "audio"],
    columns: Sequence[str],
    files: Path | None,
) -> Sources:
    """Finds the file or URL of every item.

    Args:
        path: items.parquet.
        item_ids: its ids.
        modality: decides the columns and the kinds of files.
        columns: of file names or URLs, the first that is filled counts; empty for `<modality>_file`, `<modality>_url`.
        files: the folder that file names are relative to, None for that of items.parquet. Without columns of file
            names, the folder of `<item_id>.<ext>`.

    Raises:
        BadInputError: no such column or folder, a file outside of the folder, or no item has any content.
    """
    defaults = (f"{modality}_file", f"{modality}_url")
    table = read_content_columns(path, columns, defaults)
    if files is not None and not files.is_dir():
        raise BadInputError(f"--files {files}: no such folder; give the folder of the {modality} files")
    if files is not None and (not table.columns or (not columns and defaults[0] not in table.columns)):
        found = Sources(_named_by_id(files, item_ids, modality), {})
        where = f"no file of {files} is named like an item, such as {item_ids[0]}{SUFFIXES[modality][0]}"
    elif table.columns:
        found = _from_columns(table, path, files or path.parent)
        where = f"no item has anything in {', '.join(table.columns)}"
    else:
        raise BadInputError(
            f"{path}: has neither column {defaults[0]!r} nor {defaults[1]!r}; add one, name one with --column, or give "
            f"--files a folder of files named <item_id>{SUFFIXES[modality][0]}"
        )
    if not found.files and not found.urls:
        raise BadInputError(f"{path}: {where}, so there is nothing to encode; give --column or --files")
    return found


def _named_by_id(folder: Path, item_ids: Sequence[str], modality: str) -> dict[int, Path]:
    rows = {item_id: row for row, item_id in enumerate(item_ids)}
    suffixes, found = SUFFIXES[modality], dict[int, Path]()
    for file in sorted(folder.iterdir()):
        row = rows.get(file.name[: -len(file.suffix)]) if file.suffix.lower() in suffixes else None
        if row is None:
            continue
        if row in found:
            raise BadInputError(f"{folder}: {found[row].name} and {file.name} are both of item {file.stem!r}; keep one")
        found[row] = file
    return found


def _from_columns(table: pl.DataFrame, path: Path, base: Path) -> Sources:
    found = Sources({}, {})
    for name in table.columns:
        column = table[name]
        if not isinstance(column.dtype, pl.String | pl.Categorical | pl.Enum | pl.Null):
            raise BadInputError(
                f"{path}: column {name!r} has type {column.dtype}, row 0: {column[0]!r}; write one file name or URL "
                "per item as a string"
            )
        for row, value in enumerate(column.cast(pl.String).to_list()):
            text = (value or "").strip()
            if not text or row in found.files or row in found.urls:
                continue
            if text.lower().startswith(("http://", "https://")):
                found.urls[row] = text
            else:
                found.files[row] = _inside(base, text, f"{path}: column {name!r}, row {row}: {text!r}")
    return found


def _inside(base: Path, name: str, where: str) -> Path:
    """A catalogue may come from strangers: it names files of one folder, and nothing else of this machine."""
    if ".." in PurePath(name).parts or not (file := base / name).is_relative_to(base) or "\0" in name:
        raise BadInputError(f"{where} is not inside of {base}; give the folder of the files with --files")
    return file
