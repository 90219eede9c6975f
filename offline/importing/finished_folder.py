"""The last steps of an import: interactions.parquet in one piece, and the checks that every job makes at its door."""

from pathlib import Path
from typing import Final

import polars as pl

from offline.dataset import load_dataset
from offline.dataset_checks import INTERACTIONS_FILE, ITEMS_FILE, read_items
from offline.errors import BadInputError
from offline.importing.carried_features import open_features
from offline.importing.spool import CHUNK_ROWS, Spool
from offline.splits import SPLITS

MOST_ROWS_TO_LOAD: Final = 2_000_000
MOST_FEATURE_BYTES_TO_LOAD: Final = 1 << 29
"""Up to these sizes a new folder is loaded for its check, as `check` does."""


def write_interactions(spool: Spool, path: Path, old: Path | None) -> int:
    """Write the rows of a spool, after those of a dataset folder where there is one; returns how many there are."""
    parts = []
    if old is not None:
        parts.append(pl.scan_parquet(old / INTERACTIONS_FILE, glob=False, hive_partitioning=False))
    if spool.height:
        parts.append(spool.scan())
    rows = pl.concat(parts, how="diagonal_relaxed") if len(parts) > 1 else parts[0]
    rows.sink_parquet(path, compression="zstd", row_group_size=CHUNK_ROWS, engine="streaming")
    return int(pl.scan_parquet(path, glob=False).select(pl.len()).collect().item())


def check_finished(folder: Path, *, request_folder: Path, num_rows: int) -> None:
    """Check a new folder before it is published: by loading it, or the same a stretch at a time where it is large.

    Args:
        folder: the new one.
        request_folder: where it will be, for messages.
        num_rows: interactions.

    Raises:
        BadInputError: it is not as the design says.
    """
    sizes = [path.stat().st_size for path in (folder / "features").glob("*.npy")]
    try:
        if num_rows <= MOST_ROWS_TO_LOAD and sum(sizes) <= MOST_FEATURE_BYTES_TO_LOAD:
            load_dataset(folder)
        else:
            _check_streaming(folder)
    except BadInputError as error:
        raise BadInputError(str(error).replace(str(folder), str(request_folder))) from error


def _check_streaming(folder: Path) -> None:
    items = read_items(folder / ITEMS_FILE)["item_id"]
    path = folder / INTERACTIONS_FILE
    rows = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    present = rows.collect_schema()
    if dict(present) != {name: kind for name, kind in _TYPES.items() if name in present} or len(present) < 2:
        raise BadInputError(f"{path}: has the columns {dict(present)}; import the whole log again with --overwrite")
    bad = {
        "a null id": pl.col("user_id").is_null() | pl.col("item_id").is_null(),
        "an item that is not in items.parquet": ~pl.col("item_id").is_in(items.implode()),
        "a null timestamp": pl.col("timestamp").is_null() if "timestamp" in present else pl.lit(value=False),
        "a weight that is not finite": ~pl.col("weight").is_finite() if "weight" in present else pl.lit(value=False),
        "an unknown split": ~pl.col("split").is_in(SPLITS) if "split" in present else pl.lit(value=False),
    }
    counts = rows.select(mask.fill_null(value=True).any().alias(name) for name, mask in bad.items())
    for name, found in counts.collect(engine="streaming").row(0, named=True).items():
        if found:
            raise BadInputError(f"{path}: has {name}; import the whole log again with --overwrite")
    if "split" in present and "timestamp" in present:
        _check_split_order(rows, path)
    for feature in sorted((folder / "features").glob("*.npy")):
        open_features(feature, len(items))


_TYPES: Final = {
    "user_id": pl.String(),
    "item_id": pl.String(),
    "timestamp": pl.Int64(),
    "event": pl.String(),
    "weight": pl.Float32(),
    "split": pl.String(),
}


def _check_split_order(rows: pl.LazyFrame, path: Path) -> None:
    """No held-out row of a user may be older than one of an earlier split; in memory are four numbers per user."""
    moments = pl.col("timestamp")
    edges = [
        getattr(moments.filter(pl.col("split") == split), kind)().alias(f"{split} {kind}")
        for split in SPLITS
        for kind in ("min", "max")
    ]
    users = rows.group_by("user_id").agg(edges).collect(engine="streaming")
    back = pl.lit(value=False)
    for earlier, later in (("train", "valid"), ("train", "test"), ("valid", "test")):
        back = back | (pl.col(f"{earlier} max") > pl.col(f"{later} min")).fill_null(value=False)
    odd = users.filter(back)
    if odd.height:
        raise BadInputError(
            f"{path}: column 'split': of user {odd['user_id'][0]!r} something held out is older than what it is "
            f"predicted from ({odd.height} such users); leave out 'timestamp' to keep this split, or 'split' to have "
            "one made by time"
        )
