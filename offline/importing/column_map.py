"""Which column of a source holds which field of the dataset folder: `--map user_id=customer_key,item_id=sku`."""

from collections.abc import Mapping, Sequence
from typing import Final

from offline.errors import BadInputError

LOG_FIELDS: Final = ("user_id", "item_id", "timestamp", "event", "weight", "split")
ITEM_FIELDS: Final = ("item_id", "title", "categories", "image_url")

ColumnMap = dict[str, str]
"""Field -> column of the source; "" for a field that shall be left out although there is a column of its name."""


def parse_map(text: str, fields: Sequence[str], option: str) -> ColumnMap:
    """Read `field=column,field=column`. A field without a column (`timestamp=`) is left out.

    Args:
        text: what was given.
        fields: that there are.
        option: for messages: "--map".

    Raises:
        BadInputError: a part is not of this form, a field is none or comes twice, or a column stands for two fields.
    """
    found: ColumnMap = {}
    for part in text.split(","):
        field, equals, column = (piece.strip() for piece in part.partition("="))
        if not equals or field not in fields:
            raise BadInputError(
                f"{option}: {part.strip()!r} is not field=column with one of the fields {', '.join(fields)}; write "
                f"for example {option} user_id=customer_key,item_id=sku"
            )
        if field in found:
            raise BadInputError(
                f"{option}: two columns for {field} ({found[field]!r} and {column!r}); name one column for each field"
            )
        found[field] = column
    named = [column for column in found.values() if column]
    twice = next((column for column in named if named.count(column) > 1), None)
    if twice is not None:
        both = " and ".join(field for field, column in found.items() if column == twice)
        raise BadInputError(f"{option}: column {twice!r} is given for {both}; name another column for one of them")
    return found


def complete_map(given: Mapping[str, str], columns: Sequence[str], fields: Sequence[str]) -> ColumnMap:
    """What was given, and for every other field the column of its own name where there is one; nothing left out."""
    taken = set(given.values())
    own = {field: field for field in fields if field not in given and field in columns and field not in taken}
    return {field: column for field, column in (dict(given) | own).items() if column}


def require_columns(mapping: Mapping[str, str], columns: Sequence[str], source: str, option: str) -> None:
    """Refuse a map that does not fit a source.

    Raises:
        BadInputError: a column is not there, or is there twice.
    """
    for field, column in mapping.items():
        if column not in columns:
            raise BadInputError(
                f"{source}: column {column!r} for {field} is not there (columns present: "
                f"{listed(columns)}); correct {option}"
            )
        if f"{column}_duplicated_0" in columns:  # as polars calls the second one
            raise BadInputError(
                f"{source}: column {column!r} for {field} stands there more than once, so it is not clear which one is "
                "meant; rename one in the first line"
            )


def require_fields(mapping: Mapping[str, str], needed: Sequence[str], columns: Sequence[str], option: str) -> None:
    """Refuse a map without a field that must be.

    Raises:
        BadInputError: no column is named for it.
    """
    missing = [field for field in needed if field not in mapping]
    if missing:
        example = ",".join(f"{field}=COLUMN" for field in missing)
        raise BadInputError(
            f"no column is known for {' and '.join(missing)}; say which by {option} {example} "
            f"(columns present: {listed(columns)})"
        )


def listed(columns: Sequence[str]) -> str:
    """Names for a message, in quotes where one would look like two."""
    return ", ".join(repr(name) if "," in name or name != name.strip() else name for name in columns) or "none"
