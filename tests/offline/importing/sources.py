"""Small sources of every kind, and how to look at what became of them."""

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl

LOG = """customer_key,sku,ordered_at,kind,stars
7,A,2024-01-01T10:00:00Z,view,5
7,B,2024-01-02T11:00:00Z,buy,3
7,C,2024-01-03T00:00:00Z,buy,4
8,A,2024-01-01T00:00:00Z,view,1
8,B,2024-01-05T00:00:00Z,buy,5
9,A,2024-01-06T00:00:00Z,view,2
"""
MAP = "user_id=customer_key,item_id=sku,timestamp=ordered_at,event=kind,weight=stars"
ITEMS = "sku,name,tags,photo,price\nA,Apple,fruit|red,http://x/a.png,1.5\nB,Bread,,,2\nZ,Zest,fruit,,3\n"


def text_file(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def gz_file(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()))
    return path


def json_lines(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def log_of(folder: Path) -> list[tuple[Any, ...]]:
    """The rows of interactions.parquet, in its order."""
    return pl.read_parquet(folder / "interactions.parquet").rows()


def items_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Item id -> the rest of its row."""
    rows = pl.read_parquet(folder / "items.parquet").to_dicts()
    return {row.pop("item_id"): row for row in rows}


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def no_leftovers(folder: Path) -> bool:
    """Whether nothing of an import stands in its folder or beside it."""
    beside = [entry for entry in folder.parent.iterdir() if entry.name.startswith(f".{folder.name}.")]
    return not beside and not (folder / ".import").exists()
