"""Last.fm 2K of HetRec 2011: user_artists.dat, artists.dat, and tags as categories."""

from pathlib import Path

import polars as pl

from offline.importing.formats.layout import Layout, encoding_of, named
from offline.importing.source_files import SourceFile
from offline.importing.tables import Table

USER_PREFIX, ITEM_PREFIX = "user-", "artist-"


def lastfm_layout(files: list[SourceFile]) -> Layout | None:
    """The layout of the unpacked archive; None where it is none. Ids are `user-2`, `artist-51`."""
    log, artists = named(files, "user_artists.dat"), named(files, "artists.dat")
    if log is None or artists is None:
        return None
    tags, tagged = named(files, "tags.dat"), named(files, "user_taggedartists.dat")
    return Layout(
        format="lastfm",
        log=_table(log),
        mapping={"user_id": "userID", "item_id": "artistID", "weight": "weight"},
        prefixes={"user_id": USER_PREFIX, "item_id": ITEM_PREFIX},
        items=lambda scratch: _read_items(artists, tags, tagged, scratch),
        items_name=artists.name,
    )


def _read_items(artists: SourceFile, tags: SourceFile | None, tagged: SourceFile | None, scratch: Path) -> pl.DataFrame:
    items = _rows(artists, scratch).select(
        pl.col("id").alias("artistID"), pl.col("name").alias("title"), pl.col("pictureURL").alias("image_url")
    )
    if tags is None or tagged is None:
        return items.rename({"artistID": "item_id"})
    names = _rows(tags, scratch).select("tagID", pl.col("tagValue").str.strip_chars())
    given = _rows(tagged, scratch).select("artistID", "tagID").join(names, on="tagID")
    categories = given.group_by("artistID").agg(pl.col("tagValue").unique().sort().alias("categories"))
    joined = items.join(categories, on="artistID", how="left", maintain_order="left")
    empty = pl.lit([], dtype=pl.List(pl.String))
    return joined.select(
        pl.col("artistID").alias("item_id"), "title", pl.col("categories").fill_null(empty), "image_url"
    )


def _rows(file: SourceFile, scratch: Path) -> pl.DataFrame:
    with _table(file).open(0, scratch) as rows:
        return rows.collect()


def _table(file: SourceFile) -> Table:
    return Table(files=(file,), kind="csv", delimiter="\t", quoted=False, encoding=encoding_of(file))
