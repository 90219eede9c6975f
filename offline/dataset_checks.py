"""What the files of a dataset folder must hold (design, section 3), checked once at the door.

Whatever passes here is trusted by every job after it. Every refusal is a `BadInputError` whose message names file,
column, row (counting from 0) and value, and says what to do. All checks work on whole columns, never row by row.
"""

from pathlib import Path
from typing import NamedTuple

import polars as pl

from offline import progress
from offline.errors import BadInputError
from offline.splits import SPLITS
from service.contract.item_table import MAX_ID_LENGTH

INTERACTIONS_FILE = "interactions.parquet"
ITEMS_FILE = "items.parquet"
IMPORT_FOLDER = ".import"
"""In which an import builds what it puts into a dataset folder; removed at its end."""


class InteractionLog(NamedTuple):
    """A checked interactions.parquet, sorted by user, then time, then split; equal rows keep the order of the file."""

    user_ids: tuple[str, ...]  # sorted; row = position
    rows: pl.DataFrame  # user, item (row numbers), [timestamp], [split (position in SPLITS)]

    @property
    def has_time(self) -> bool:
        """Whether the file has timestamps that say something of the order of interactions."""
        return "timestamp" in self.rows.columns

    @property
    def has_split(self) -> bool:
        """Whether the file says itself what is held out."""
        return "split" in self.rows.columns


def require_folder(folder: Path) -> None:
    """Refuses a path that is not a folder.

    Raises:
        BadInputError: there is nothing at `folder`, or a file.
    """
    if not folder.is_dir():
        found = "is a file, not a folder" if folder.exists() else "no such folder"
        raise BadInputError(f"{folder}: {found}; give the folder that holds {INTERACTIONS_FILE} and {ITEMS_FILE}")


def read_items(path: Path) -> pl.DataFrame:
    """Reads and checks items.parquet.

    Args:
        path: the file.

    Returns:
        Columns `item_id` (str, unique), `title` (str, "" where absent), `categories` (list of str, [] where absent),
        in the order of the file. Other metadata is not read.

    Raises:
        BadInputError: unreadable, no item, wrong types, ids that are null, empty or repeated.
    """
    table = _read_columns(path, required=("item_id",), optional=("title", "categories"))
    if table.is_empty():
        raise BadInputError(f"{path}: no items; write one row per item of the catalogue")
    ids = _id_column(table, "item_id", path)
    repeats = ~ids.is_first_distinct()
    if repeats.any():
        row = _first_true(repeats)
        first = _first_true(ids == ids[row])
        raise BadInputError(
            f"{path}: column 'item_id', row {row}: {ids[row]!r} repeats row {first} ({int(repeats.sum())} repeated in "
            "all); keep one row per item and the feature rows in step with it"
        )
    return pl.DataFrame({"item_id": ids, "title": _titles(table, path), "categories": _categories(table, path)})


def read_interactions(path: Path, item_ids: pl.Series) -> InteractionLog:
    """Reads and checks interactions.parquet.

    `event` and `weight` are checked and otherwise ignored. Other columns are not read. Timestamps that say nothing are
    left out with a warning: all null, or the same in all interactions of every user.

    Args:
        path: the file.
        item_ids: the ids of items.parquet; an item's row is its position here.

    Returns:
        The checked rows, sorted.

    Raises:
        BadInputError: unreadable, no row, wrong types, ids that are null, empty or unknown, timestamps or weights that
            are null or not finite, a split that is none of train, valid, test or that contradicts the timestamps,
            or nothing to train on.
    """
    table = _read_columns(path, required=("user_id", "item_id"), optional=("timestamp", "event", "weight", "split"))
    if table.is_empty():
        raise BadInputError(f"{path}: no interactions; write one row per interaction of a user with an item")
    users = _id_column(table, "user_id", path)
    user_ids = users.unique().sort()
    columns = {
        "user": users.cast(pl.Enum(user_ids)).to_physical(),
        "item": _item_rows(_id_column(table, "item_id", path), item_ids, path),
    }
    if "timestamp" in table.columns and _orders_something(times := _timestamps(table, path), columns["user"], path):
        columns["timestamp"] = times
    if "split" in table.columns:
        columns["split"] = _split_codes(table, path)
    _check_unused(table, path)
    rows = pl.DataFrame(columns).with_row_index("row")
    keys = [key for key in ("user", "timestamp", "split") if key in columns]
    log = InteractionLog(tuple(user_ids.to_list()), rows.sort(keys, maintain_order=True))
    if log.has_time and log.has_split:
        _check_split_follows_time(log, path)
    return log


def _read_columns(path: Path, *, required: tuple[str, ...], optional: tuple[str, ...]) -> pl.DataFrame:
    if not path.is_file():
        found = "is a folder; write its parts into one file" if path.is_dir() else "no such file; write it"
        if (path.parent / IMPORT_FOLDER).is_dir():
            found = "no such file, but an import is at work there or was killed; wait for it, or start it again"
        raise BadInputError(f"{path}: {found} (a dataset folder holds {INTERACTIONS_FILE} and {ITEMS_FILE})")
    try:
        with path.open("rb") as file:  # an open file, because polars reads `*` and `[` in a path as a pattern
            present = list(pl.read_parquet_schema(file))
        missing = [name for name in required if name not in present]
        if missing:
            raise BadInputError(
                f"{path}: column '{missing[0]}' is missing (columns present: {', '.join(present) or 'none'}); "
                "rename or add it"
            )
        wanted = [name for name in (*required, *optional) if name in present]
        return pl.read_parquet(path, columns=wanted, glob=False, hive_partitioning=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BadInputError(
            f"{path}: cannot be read as parquet ({error}); write it again, for example with polars' write_parquet"
        ) from error


def _text_column(table: pl.DataFrame, name: str, path: Path) -> pl.Series:
    column = table[name]
    if isinstance(column.dtype, pl.Categorical | pl.Enum | pl.Null):
        return column.cast(pl.String)
    if column.dtype != pl.String:
        raise BadInputError(
            f"{path}: column '{name}' has type {column.dtype}, row 0: {column[0]!r}; ids and names are strings at "
            f"every boundary: cast to string before writing, for example pl.col('{name}').cast(pl.String)"
        )
    return column


def _id_column(table: pl.DataFrame, name: str, path: Path) -> pl.Series:
    ids = _text_column(table, name, path)
    cure = "give every row an id or drop the row"
    _refuse_where(ids.is_null(), ids, path, "is null", cure)
    _refuse_where(ids == "", ids, path, "is an empty string", cure)
    long = f"has over {MAX_ID_LENGTH} characters, which the service refuses"
    _refuse_where(ids.str.len_chars() > MAX_ID_LENGTH, ids, path, long, "write a shorter id, such as a hash of it")
    return ids


def _titles(table: pl.DataFrame, path: Path) -> pl.Series:
    if "title" not in table.columns:
        return pl.repeat("", table.height, dtype=pl.String, eager=True)
    return _text_column(table, "title", path).fill_null("")


def _categories(table: pl.DataFrame, path: Path) -> pl.Series:
    if "categories" not in table.columns:
        return pl.Series([[]], dtype=pl.List(pl.String)).new_from_index(0, table.height)
    column = table["categories"]
    element = column.dtype.inner if isinstance(column.dtype, pl.List | pl.Array) else column.dtype
    if column.dtype == pl.String or not isinstance(element, pl.String | pl.Categorical | pl.Enum | pl.Null):
        raise BadInputError(
            f"{path}: column 'categories' has type {column.dtype}, row 0: {column[0]!r}; write a list of strings per "
            "item, for example ['Beauty', 'Nails'], or leave the column out"
        )
    return column.cast(pl.List(pl.String)).fill_null([]).list.drop_nulls()


def _item_rows(ids: pl.Series, item_ids: pl.Series, path: Path) -> pl.Series:
    rows = ids.cast(pl.Enum(item_ids), strict=False).to_physical()
    _refuse_where(
        rows.is_null(), ids, path, f"is not in {ITEMS_FILE}", f"add the item to {ITEMS_FILE} or drop its interactions"
    )
    return rows


def _timestamps(table: pl.DataFrame, path: Path) -> pl.Series:
    """The checked column; it may be null as a whole."""
    column = table["timestamp"]
    if column.is_null().all():
        return column
    cure = "write milliseconds since 1970 UTC, a datetime or any increasing number, or leave the column out"
    if not (column.dtype.is_numeric() or isinstance(column.dtype, pl.Datetime | pl.Date)):
        raise BadInputError(f"{path}: column 'timestamp' has type {column.dtype}, row 0: {column[0]!r}; {cure}")
    _refuse_not_finite(column, path, cure)
    return column


def _orders_something(times: pl.Series, users: pl.Series, path: Path) -> bool:
    """Whether the interactions of any user can be told apart by time; with a warning where there are several."""
    num_users = users.n_unique()
    if times.is_null().all():
        problem = "is null in every row"
    elif pl.DataFrame([users.alias("user"), times]).n_unique() == num_users < len(times):
        problem = f"is the same in all interactions of every user (row 0: {times[0]!r})"
    else:
        return True
    progress.say(
        f"warning: {path}: column 'timestamp' {problem}, so the order of interactions means nothing; the dataset is "
        "taken as one without time: write the time of every interaction, or leave the column out"
    )
    return False


def _split_codes(table: pl.DataFrame, path: Path) -> pl.Series:
    names = _text_column(table, "split", path)
    codes = names.cast(pl.Enum(SPLITS), strict=False).to_physical()
    cure = "write one of these three in every row, or leave the column out to have it made"
    _refuse_where(codes.is_null(), names, path, "is none of train, valid, test", cure)
    if not (codes == SPLITS.index("train")).any():
        raise BadInputError(
            f"{path}: column 'split': no row of {len(codes)} is 'train' (row 0: {names[0]!r}), so there is nothing to "
            "train on; mark the training interactions, or leave the column out to have it made"
        )
    return codes


def _check_unused(table: pl.DataFrame, path: Path) -> None:
    if "event" in table.columns:
        _text_column(table, "event", path)
    if "weight" in table.columns:
        cure = "write a finite number in every row, or leave the column out"
        if not table["weight"].dtype.is_numeric():
            weights = table["weight"]
            raise BadInputError(f"{path}: column 'weight' has type {weights.dtype}, row 0: {weights[0]!r}; {cure}")
        _refuse_not_finite(table["weight"], path, cure)


def _check_split_follows_time(log: InteractionLog, path: Path) -> None:
    """Refuses a split that looks into the future: with time, the history for a test item is train + valid."""
    later, earlier = log.rows[1:], log.rows[:-1]
    back = (later["user"] == earlier["user"]) & (later["split"] < earlier["split"])
    if back.any():
        at = _first_true(back)
        raise BadInputError(
            f"{path}: column 'split', row {later['row'][at]}: {SPLITS[later['split'][at]]!r} of user "
            f"{log.user_ids[later['user'][at]]!r} is later than {SPLITS[earlier['split'][at]]!r} in row "
            f"{earlier['row'][at]} ({int(back.sum())} such rows), so histories would hold the future of what they "
            "predict; leave out 'timestamp' to keep this split, or 'split' to have one made by time"
        )


def _refuse_not_finite(column: pl.Series, path: Path, cure: str) -> None:
    _refuse_where(column.is_null(), column, path, "is null", cure)
    if column.dtype.is_float():
        _refuse_where(~column.is_finite(), column, path, "is not finite", cure)


def _refuse_where(mask: pl.Series, column: pl.Series, path: Path, problem: str, cure: str) -> None:
    if mask.any():
        row = _first_true(mask)
        raise BadInputError(
            f"{path}: column '{column.name}', row {row}: {column[row]!r} {problem} ({int(mask.sum())} of {len(mask)} "
            f"rows); {cure}"
        )


def _first_true(mask: pl.Series) -> int:
    row = mask.arg_max()
    assert row is not None
    return row
