"""Tables that are files: Parquet, CSV and JSON lines, of one source, as lazy frames one after the other."""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import polars as pl

from offline.errors import BadInputError
from offline.importing.json_lines import json_columns, json_lines_to_parquet
from offline.importing.source_files import SourceFile, find_files, says_no_room

Kind = Literal["parquet", "csv", "json"]

KINDS: Final[dict[str, Kind]] = {
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".csv", ".tsv", ".txt", ".inter", ".item", ".dat"), "csv"),
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "json"),
}
_DELIMITERS: Final = ",\t;|"
_SNIFFED_BYTES: Final = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Table:
    """Files with the same columns."""

    files: tuple[SourceFile, ...]
    kind: Kind
    delimiter: str = ","
    """Of a CSV; may be several characters."""
    header: tuple[str, ...] | None = None
    """Names of the columns of a CSV that does not say them in its first line."""
    quoted: bool = True
    """Whether quotation marks of a CSV quote; else they are text."""
    encoding: str = "utf-8"
    """Of a CSV."""

    @contextmanager
    def open(self, number: int, scratch: Path) -> Iterator[pl.LazyFrame]:
        """The rows of one file, with the columns that its folders name; all but those of Parquet are text.

        Args:
            number: of the file.
            scratch: folder for copies.

        Raises:
            BadInputError: it cannot be read as what it should be.
        """
        file = self.files[number]
        with _read_errors(file, self), ExitStack() as copies:
            if self.kind == "json":
                rows = json_lines_to_parquet(file, scratch)
            else:
                path = copies.enter_context(file.local(scratch))
                if self.kind == "parquet":
                    rows = pl.scan_parquet(path, glob=False, hive_partitioning=False)
                else:
                    rows = self.scan_csv(self._plain_text(file, path, scratch), file)
            yield (
                rows.with_columns(pl.lit(value, dtype=pl.String).alias(name) for name, value in file.partitions)
                if file.partitions
                else rows
            )

    @property
    def single(self) -> str:
        """The delimiter of one character that polars sees."""
        return self.delimiter if len(self.delimiter) == 1 else "\t"

    def scan_csv(self, text: Path | io.BytesIO, file: SourceFile) -> pl.LazyFrame:
        """Rows of UTF-8 text with delimiters of one character.

        Raises:
            BadInputError: there is no byte in it.
        """
        if not (text.stat().st_size if isinstance(text, Path) else text.getbuffer().nbytes):
            raise BadInputError(f"{file.name}: is empty; a CSV begins with a line of column names")
        return pl.scan_csv(
            text,
            separator=self.single,
            has_header=self.header is None,
            new_columns=self.header,
            quote_char='"' if self.quoted else None,
            infer_schema=False,
            glob=False,
        )

    def _plain_text(self, file: SourceFile, path: Path, scratch: Path) -> Path:
        """A copy that polars can read, where the encoding or the delimiter is not one of its own."""
        if self.encoding == "utf-8" and len(self.delimiter) == 1:
            return path
        scratch.mkdir(parents=True, exist_ok=True)
        copy = scratch / "recoded.csv"
        with path.open(encoding=self.encoding, newline="") as source, copy.open("w", encoding="utf-8") as target:
            for number, line in enumerate(source):
                text = line.rstrip("\r\n")
                if len(self.delimiter) > 1:
                    if "\t" in text:
                        raise BadInputError(f"{file.name}: line {number + 1} holds a tab; replace it by a space")
                    text = text.replace(self.delimiter, self.single)
                target.write(f"{text}\n")
        return copy


def find_table(source: str, delimiter: str | None = None) -> Table:
    """The table that a path or URL names.

    Args:
        source: a file, a folder of parts or a pattern; all of one kind.
        delimiter: of a CSV; None to find it in the first line.

    Raises:
        BadInputError: nothing is there, it is of a kind that is not read, or of several.
    """
    files = find_files(source, list(KINDS))
    kinds = {file.suffix: KINDS.get(file.suffix) for file in files}
    if None in kinds.values():
        odd = next(file.name for file in files if KINDS.get(file.suffix) is None)
        raise BadInputError(f"{odd}: its name does not end in one of {', '.join(KINDS)} (.gz may follow); rename it")
    if len(set(kinds.values())) > 1:
        raise BadInputError(
            f"{source}: holds files of several kinds ({', '.join(sorted(kinds))}); name those of one by a pattern"
        )
    table = Table(files=tuple(files), kind=next(kind for kind in kinds.values() if kind))
    return replace(table, delimiter=delimiter or _sniff(files[0])) if table.kind == "csv" else table


def columns_of(table: Table) -> dict[str, pl.DataType]:
    """Names and types of the columns of the first file, of which no more than the beginning is read.

    Raises:
        BadInputError: as `Table.open`.
    """
    file = table.files[0]
    with _read_errors(file, table), file.open() as source:
        if table.kind == "parquet":
            found = dict(pl.read_parquet_schema(source))
        elif table.kind == "json":
            found = dict.fromkeys(json_columns(file), pl.String())
        elif table.header is not None:
            found = dict.fromkeys(table.header, pl.String())
        else:
            line = source.readline(_SNIFFED_BYTES).decode(table.encoding).replace(table.delimiter, table.single)
            found = dict(table.scan_csv(io.BytesIO(line.encode()), file).collect_schema())
    return found | dict.fromkeys((name for name, _ in file.partitions), pl.String())


def _sniff(file: SourceFile) -> str:
    """The delimiter that the first line holds most often, outside of quotes."""
    with file.open() as source:
        first = source.read(_SNIFFED_BYTES).decode("utf-8", errors="replace").partition("\n")[0]
    counts = {sign: len(next(csv.reader(io.StringIO(first), delimiter=sign), [])) for sign in _DELIMITERS}
    return max(_DELIMITERS, key=lambda sign: counts[sign])


@contextmanager
def _read_errors(file: SourceFile, table: Table) -> Iterator[None]:
    try:
        yield
    except BadInputError:
        raise
    except (UnicodeError, pl.exceptions.PolarsError) as error:
        if says_no_room(error):  # of what is written from it
            raise
        if table.kind == "csv" and (found := _first_bad_line(file, table)):
            raise BadInputError(f"{file.name}: {found}") from error
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInputError(f"{file.name}: cannot be read as {table.kind} ({said}); write it again") from error


def _first_bad_line(file: SourceFile, table: Table) -> str | None:
    """What is wrong with the first line that is; slow, and asked only when reading has failed."""
    number, begun = 0, 1
    try:
        with file.open() as source, io.TextIOWrapper(source, encoding=table.encoding, newline="") as text:
            width = len(table.header) if table.header else None
            records = _records(text, table)
            for number, line in enumerate(records, 1):
                begun = getattr(records, "line_num", number) + 1
                width = width or len(line)
                if len(line) > width:
                    return (
                        f"line {number} has {len(line)} fields, the first has {width}; quote fields that hold "
                        f"{table.delimiter!r}, or give another --delimiter"
                    )
    except UnicodeError:
        return f"line {_first_that_is_no_text(file, table.encoding)} is no text in UTF-8; write the file in it"
    except csv.Error as error:
        if "unexpected end" in str(error):
            return f"a quotation mark in line {begun} is never closed; close it, or double one that belongs to the text"
        return f"line {number + 1} cannot be read ({error})"
    return None


def _first_that_is_no_text(file: SourceFile, encoding: str) -> int:
    with file.open() as source:
        for number, line in enumerate(source, 1):
            try:
                line.decode(encoding)
            except UnicodeDecodeError:
                return number
    return 0


def _records(text: io.TextIOWrapper, table: Table) -> Iterator[Sequence[str]]:
    if len(table.delimiter) > 1:
        return (line.split(table.delimiter) for line in text)
    if not table.quoted:
        return csv.reader(text, delimiter=table.delimiter, quoting=csv.QUOTE_NONE)
    return csv.reader(text, delimiter=table.delimiter, strict=True)
