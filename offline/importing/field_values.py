"""Values of a warehouse as those of a dataset folder: ids as text, times as numbers, weights as float32.

Everything is an expression over whole columns. What cannot be read becomes null, and `offline.importing.staging` says
which row that was.
"""

import re
from typing import Final, Literal, NamedTuple

import polars as pl

from offline.errors import BadInputError

TimeUnit = Literal["s", "ms", "us", "ns", "order"]
"""Unit of times that are numbers; "order": they only say what came first, and stay as they are."""

UNIT_TO_MS: Final[dict[TimeUnit, float]] = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6, "order": 1.0}

_UNITS_FROM: Final[tuple[tuple[float, TimeUnit], ...]] = (
    *((1e17, "ns"), (1e14, "us"), (1e11, "ms"), (1e8, "s"), (float("-inf"), "order")),
)
"""The smallest greatest time of each unit: 1e11 seconds is the year 5138, 1e11 milliseconds March 1973."""

_TEXT_FORMATS: Final = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")
_ZONED: Final = "%Y-%m-%d %H:%M:%S%.f%z"


class TimeColumn(NamedTuple):
    """A column as times."""

    values: pl.Expr  # milliseconds since 1970 UTC as Int64, or numbers of an unknown unit as Float64
    is_number: bool  # whether the unit is still to be found


def id_text(column: str, kind: pl.DataType, source: str, *, first: object = None) -> pl.Expr:
    """Ids as text: whole numbers without a point, uuids of 16 bytes in their usual form; text without change.

    Args:
        column: its name.
        kind: its type.
        source: for messages.
        first: of bytes, the first value that is there: text in UTF-8 or a uuid, all others are read alike.

    Raises:
        BadInputError: the column is of a type that cannot be an id.
    """
    values = pl.col(column)
    if isinstance(kind, pl.String | pl.Categorical | pl.Enum | pl.Null) or kind.is_integer():
        return values.cast(pl.String)
    if kind.is_float() or kind.is_decimal():  # what pandas makes of whole numbers with gaps
        whole = values.cast(pl.Float64)
        return (
            pl.when((whole == whole.round()) & (whole.abs() < 2**53))
            .then(whole.cast(pl.Int64, strict=False))
            .cast(pl.String)
        )
    if isinstance(kind, pl.Binary):
        if not isinstance(first, bytes) or _is_text(first):
            return values.cast(pl.String)
        digits = values.bin.encode("hex")
        parts = [digits.str.slice(start, length) for start, length in ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))]
        return pl.when(values.bin.size() == 16).then(pl.concat_str(parts, separator="-"))
    raise BadInputError(
        f"{source}: column {column!r} has type {kind}, which cannot be an id; name a column of text, whole numbers or "
        "uuids"
    )


def time_values(
    column: str, kind: pl.DataType, source: str, *, first: object = None, text_format: str | None = None
) -> TimeColumn:
    """Times of any kind. Those without a zone are UTC.

    Args:
        column: its name.
        kind: its type.
        source: for messages.
        first: of text, the first value that is there: numbers or dates, all others are read alike.
        text_format: how the text writes a time, such as "%d/%m/%Y %H:%M"; None for ISO 8601.

    Raises:
        BadInputError: the column is of a type that cannot be a time.
    """
    values = pl.col(column)
    if isinstance(kind, pl.Datetime | pl.Date):
        zoned = isinstance(kind, pl.Datetime) and kind.time_zone is not None
        moments = values.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if zoned else values
        return TimeColumn(moments.cast(pl.Datetime("ms")).to_physical(), is_number=False)
    if kind.is_numeric():
        numbers = values.cast(pl.Float64)
        return TimeColumn(pl.when(numbers.is_finite()).then(numbers), is_number=True)
    if isinstance(kind, pl.String | pl.Categorical | pl.Enum | pl.Null):
        text = values.cast(pl.String).str.strip_chars()
        if text_format is None and isinstance(first, str) and re.fullmatch(r"\s*-?\d+(\.\d*)?([eE]\+?\d+)?\s*", first):
            numbers = text.cast(pl.Float64, strict=False)
            return TimeColumn(pl.when(numbers.is_finite()).then(numbers), is_number=True)
        return TimeColumn(_text_times(text, text_format), is_number=False)
    raise BadInputError(
        f"{source}: column {column!r} has type {kind}, which cannot be a time; name a column of dates, datetimes, ISO "
        "text or numbers"
    )


def weight_values(column: str, kind: pl.DataType, source: str) -> pl.Expr:
    """Weights as float32; text that is no number becomes null.

    Raises:
        BadInputError: the column is of a type that cannot be a weight.
    """
    if not (kind.is_numeric() or kind.is_decimal() or isinstance(kind, pl.String | pl.Null)):
        raise BadInputError(
            f"{source}: column {column!r} has type {kind}, which cannot be a weight; name a column of numbers"
        )
    values = pl.col(column)
    return (values.str.strip_chars() if isinstance(kind, pl.String) else values).cast(pl.Float32, strict=False)


def name_values(column: str, kind: pl.DataType, source: str) -> pl.Expr:
    """Names, such as those of events.

    Raises:
        BadInputError: the column is of a type that cannot be a name.
    """
    if isinstance(kind, pl.List | pl.Array | pl.Struct | pl.Binary | pl.Object):
        raise BadInputError(f"{source}: column {column!r} has type {kind}, which cannot be text; name a column of text")
    return pl.col(column).cast(pl.String)


def unit_of(lowest: float, greatest: float) -> TimeUnit:
    """The unit of times, by the size of the greatest: seconds, milliseconds, microseconds, nanoseconds, or an order.

    Raises:
        BadInputError: the lowest and the greatest are of different units.
    """

    def by_size(value: float) -> TimeUnit:
        return next(unit for least, unit in _UNITS_FROM if value >= least)

    unit, other = by_size(greatest), by_size(lowest)
    if other not in (unit, "order"):
        raise BadInputError(
            f"the times go from {lowest:.0f} to {greatest:.0f}, which looks like {other} beside {unit}; write all of "
            "them in one unit, or name it by --time-unit"
        )
    return unit


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _text_times(text: pl.Expr, text_format: str | None) -> pl.Expr:
    """Milliseconds; null where the text is no time."""
    if text_format is not None:
        zoned = any(sign in text_format for sign in ("%z", "%:z", "%#z", "%+"))
        return _moments(text, text_format, zoned=zoned)
    plain = text.str.replace(r"^(\d{4}-\d\d-\d\d)[Tt]", "${1} ").str.replace(r"(?: ?UTC|[Zz])$", "+0000")
    plain = plain.str.replace(r" ?([+-]\d\d):?(\d\d)$", "${1}${2}").str.replace(r"(:\d\d(?:\.\d+)?[+-]\d\d)$", "${1}00")
    zoned_times = _moments(plain, _ZONED, zoned=True)
    return pl.coalesce(zoned_times, *(_moments(plain, form, zoned=False) for form in _TEXT_FORMATS))


def _moments(text: pl.Expr, text_format: str, *, zoned: bool) -> pl.Expr:
    if "%H" in text_format or "%s" in text_format or "%T" in text_format or "%I" in text_format or zoned:
        moments = text.str.to_datetime(text_format, strict=False, time_unit="us", time_zone="UTC" if zoned else None)
        moments = moments.dt.replace_time_zone(None) if zoned else moments
    else:
        moments = text.str.to_date(text_format, strict=False).cast(pl.Datetime("us"))
    return moments.cast(pl.Datetime("ms")).to_physical()
