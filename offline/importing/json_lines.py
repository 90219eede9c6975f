"""JSON lines, one object a line: read by Python, so that a broken line is named by its number."""

import ast
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import polars as pl

from offline.errors import BadInputError
from offline.importing.source_files import SourceFile
from offline.importing.spool import Spool

_LINES_TOGETHER: Final = 20_000
_LINES_LOOKED_AT: Final = 100
"""Lines whose keys are the columns of the table."""


def json_objects(file: SourceFile) -> Iterator[dict[str, Any]]:
    """The object of every line; empty lines at the end are none.

    Files of Amazon reviews from 2014 hold objects as Python writes them, with single quotes: these are read too, as
    literals and never as code.

    Raises:
        BadInputError: a line is no object; the message names file and line (counting from 1).
    """
    with file.open() as source:
        for number, line in enumerate(source, 1):
            if not line.strip():
                if any(rest.strip() for rest in source):
                    raise BadInputError(f"{file.name}: line {number} is empty; write one JSON object a line")
                return
            yield _object(line, file.name, number)


def json_columns(file: SourceFile) -> list[str]:
    """The keys of the first lines.

    Raises:
        BadInputError: as `json_objects`, or there is no line.
    """
    columns = list(dict.fromkeys(key for line in islice(json_objects(file), _LINES_LOOKED_AT) for key in line))
    if not columns:
        raise BadInputError(f"{file.name}: holds no JSON object; write one a line")
    return columns


def json_lines_to_parquet(file: SourceFile, scratch: Path) -> pl.LazyFrame:
    """The lines of a file as a table of text, on disk. Columns are the keys of the first lines.

    Numbers, truth values and text become text, what is absent null, and lists and objects JSON.

    Args:
        file: the lines.
        scratch: folder for the table.

    Raises:
        BadInputError: as `json_objects`, or there is no line.
    """
    columns = json_columns(file)
    spool, objects = Spool(scratch / "json"), json_objects(file)
    while lines := list(islice(objects, _LINES_TOGETHER)):
        texts = {column: [_text(line.get(column)) for line in lines] for column in columns}
        spool.append(pl.DataFrame(texts, schema=dict.fromkeys(columns, pl.String)))
    return spool.scan()


def _object(line: bytes, name: str, number: int) -> dict[str, Any]:
    try:
        found = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except (ValueError, RecursionError) as error:  # ValueError: also of bytes that are no text
        found = _python_literal(line)
        if found is None:
            raise BadInputError(f"{name}: line {number} is no JSON ({error}); correct or remove it") from error
    if not isinstance(found, dict):
        raise BadInputError(
            f"{name}: line {number} is no JSON object but {type(found).__name__}; write one object a line"
        )
    return found


def _python_literal(line: bytes) -> Any:
    """None where it is none."""
    try:
        return ast.literal_eval(line.decode().strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else json.dumps(value)
