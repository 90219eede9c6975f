"""Files that are there whole or not at all, also after a loss of power: streams are trimmed on the strength of them."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from offline.file_digest import sha256_of_file
from offline.whole_files import whole_file


def write_json_durably(path: Path, value: Any) -> None:
    """Write JSON whole or not at all, and onto the disk."""
    text = json.dumps(value, indent=2, sort_keys=True) + "\n"
    _write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_parquet_durably(path: Path, frame: pl.DataFrame) -> str:
    """Write a frame as Parquet whole or not at all, and onto the disk; gives the sha256 of its bytes."""
    return _write(path, lambda temporary: frame.write_parquet(temporary))


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder onto the disk; a system that cannot do that to a folder leaves it."""
    try:
        opened = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows
        return
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _write(path: Path, fill: Callable[[Path], Any]) -> str:
    with whole_file(path) as temporary:
        fill(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        digest = sha256_of_file(temporary)
    sync_folder(path.parent)
    return digest
