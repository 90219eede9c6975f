"""A dataset as it was before: without some of its training interactions, and without some of its items."""

from pathlib import Path

import numpy as np
import polars as pl

from offline.errors import BadInputError


def write_yesterday(data: Path, folder: Path, *, new_interactions: float, new_items: float, seed: int) -> None:
    """Write `data` without what is new in it; valid and test stay, so that today's test is unknown to both.

    Where there is time, new are the last training interactions of users drawn at random, else rows drawn at random.

    Args:
        data: dataset folder with a column `split`: one that was made anew would hold out what yesterday learned from.
        folder: of the dataset to write.
        new_interactions: share of the training interactions.
        new_items: share of the items; all that was done with them is new as well.
        seed: of the draws.

    Raises:
        BadInputError: the dataset has no split.
    """
    log, items = pl.read_parquet(data / "interactions.parquet"), pl.read_parquet(data / "items.parquet")
    if "split" not in log.columns:
        raise BadInputError(f"{data}/interactions.parquet has no column split; take a dataset that brings its split")
    random = np.random.default_rng(seed)
    is_old = random.random(items.height) >= new_items
    log = log.with_row_index("row")
    train = log.filter(pl.col("split") == "train")
    train = train.with_columns(pl.Series("turn", random.random(train.height)))
    if "timestamp" in log.columns:  # whatever is not a user's last comes behind all that is
        is_last = pl.col("timestamp").rank("ordinal", descending=True).over("user_id") == 1
        train = train.with_columns(pl.col("turn") + (~is_last).cast(pl.Float64))
    newest = train.sort("turn")["row"].head(round(train.height * new_interactions))
    known = items.filter(pl.Series(is_old))["item_id"]
    log = log.filter(~pl.col("row").is_in(newest.implode()), pl.col("item_id").is_in(known.implode())).drop("row")
    (folder / "features").mkdir(parents=True, exist_ok=True)
    log.write_parquet(folder / "interactions.parquet")
    items.filter(pl.Series(is_old)).write_parquet(folder / "items.parquet")
    for path in sorted((data / "features").glob("*.npy")):
        np.save(folder / "features" / path.name, np.load(path)[is_old])
