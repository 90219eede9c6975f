"""MovieLens as GroupLens gives it out: 100K (u.data, u.item), 1M and 10M (.dat), 20M to 32M and latest (.csv)."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import polars as pl

from offline.importing.formats.layout import Layout, encoding_of, named
from offline.importing.source_files import SourceFile
from offline.importing.tables import Table

_FIELDS: Final = ("user_id", "item_id", "weight", "timestamp")
_GENRES: Final = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
_NO_GENRE: Final = "(no genres listed)"
_SAME: Final = {name: name for name in _FIELDS}


def movielens_layout(files: list[SourceFile]) -> Layout | None:
    """The layout of a folder of MovieLens; None where it is none."""
    if (log := named(files, "u.data")) is not None:
        table = Table(files=(log,), kind="csv", delimiter="\t", header=_FIELDS, quoted=False)
        return _layout(table, _SAME, named(files, "u.item"), _read_u_item)
    if (log := named(files, "ratings.dat")) is not None:
        table = Table(files=(log,), kind="csv", delimiter="::", header=_FIELDS, quoted=False)
        return _layout(table, _SAME, named(files, "movies.dat"), _read_movies_dat)
    log, movies = named(files, "ratings.csv"), named(files, "movies.csv")
    if log is not None and movies is not None:
        mapping = {"user_id": "userId", "item_id": "movieId", "weight": "rating", "timestamp": "timestamp"}
        return _layout(Table(files=(log,), kind="csv"), mapping, movies, _read_movies_csv)
    return None


def _layout(
    log: Table, mapping: dict[str, str], movies: SourceFile | None, read: Callable[[SourceFile, Path], pl.DataFrame]
) -> Layout:
    return Layout(
        format="movielens",
        log=log,
        mapping=mapping,
        items=None if movies is None else lambda scratch: read(movies, scratch),
        items_name="" if movies is None else movies.name,
    )


def _read_u_item(file: SourceFile, scratch: Path) -> pl.DataFrame:
    header = ("item_id", "title", "release_date", "video_release_date", "imdb_url", *_GENRES)
    rows = _rows(file, scratch, "|", header)
    flags = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in _GENRES[1:]]
    genres = pl.concat_list(flags).list.drop_nulls()
    return rows.select("item_id", "title", genres.alias("categories"), "release_date")


def _read_movies_dat(file: SourceFile, scratch: Path) -> pl.DataFrame:
    return _with_genres(_rows(file, scratch, "::", ("item_id", "title", "genres")))


def _read_movies_csv(file: SourceFile, scratch: Path) -> pl.DataFrame:
    with Table(files=(file,), kind="csv").open(0, scratch) as rows:
        return _with_genres(rows.rename({"movieId": "item_id"}).collect())


def _with_genres(rows: pl.DataFrame) -> pl.DataFrame:
    genres = (
        pl.col("genres")
        .fill_null("")
        .str.split("|")
        .list.eval(pl.element().filter(~pl.element().is_in(["", _NO_GENRE])))
    )
    return rows.select("item_id", "title", genres.alias("categories"))


def _rows(file: SourceFile, scratch: Path, delimiter: str, header: tuple[str, ...]) -> pl.DataFrame:
    table = Table(
        files=(file,), kind="csv", delimiter=delimiter, header=header, quoted=False, encoding=encoding_of(file)
    )
    with table.open(0, scratch) as rows:
        return rows.collect()
