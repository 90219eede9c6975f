"""Tables of a warehouse into a dataset folder: columns, ids, times, items, and what is said of them."""

import datetime
import uuid
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pytest

from offline.dataset import load_dataset
from tests.offline.importing.sources import ITEMS, LOG, MAP, gz_file, items_of, log_of, no_leftovers, text_file

MS = 1000
DAY = 24 * 60 * 60 * MS
NEW_YEAR = 1_704_067_200_000  # 2024-01-01T00:00:00Z


def test_a_mapped_csv_with_items(job, tmp_path: Path) -> None:
    log, items = text_file(tmp_path / "log.csv", LOG), text_file(tmp_path / "items.csv", ITEMS)
    ended = job("import", log, "--data", tmp_path / "shop", "--map", MAP, "--items", items)
    assert log_of(tmp_path / "shop") == [
        ("7", "A", NEW_YEAR + 10 * 60 * 60 * MS, "view", 5.0),
        ("7", "B", NEW_YEAR + DAY + 11 * 60 * 60 * MS, "buy", 3.0),
        ("7", "C", NEW_YEAR + 2 * DAY, "buy", 4.0),
        ("8", "A", NEW_YEAR, "view", 1.0),
        ("8", "B", NEW_YEAR + 4 * DAY, "buy", 5.0),
        ("9", "A", NEW_YEAR + 5 * DAY, "view", 2.0),
    ]
    assert items_of(tmp_path / "shop") == {
        "A": {"title": "Apple", "categories": ["fruit", "red"], "image_url": "http://x/a.png", "price": "1.5"},
        "B": {"title": "Bread", "categories": None, "image_url": None, "price": "2"},
        "Z": {"title": "Zest", "categories": ["fruit"], "image_url": None, "price": "3"},
        "C": {"title": None, "categories": None, "image_url": None, "price": None},
    }
    result = ended.result
    assert result.items() >= {"read": 6, "kept": 6, "dropped": {}, "users": 3, "items": 4}.items()
    assert result["items_without_metadata"] == 1
    assert result["watermark"] == NEW_YEAR + 5 * DAY
    assert "guessed title = column 'name' (by its name)" in ended.err
    assert load_dataset(tmp_path / "shop").categories == (("fruit", "red"), (), ("fruit",), ())
    assert no_leftovers(tmp_path / "shop")


def test_partitioned_parquet_in_a_folder(job, tmp_path: Path) -> None:
    """Parts in the order of their names, columns of the folders' names, and no file of another purpose."""
    for day, users in (("2024-01-01", [1, 2]), ("2024-01-02", [3])):
        part = tmp_path / "log" / f"day={day}" / "part-0.parquet"
        part.parent.mkdir(parents=True)
        pl.DataFrame({"user_id": users, "item_id": [10 + user for user in users]}).write_parquet(part)
    text_file(tmp_path / "log" / "_SUCCESS", "")
    text_file(tmp_path / "log" / ".hidden.parquet", "no table")
    job("import", tmp_path / "log", "--data", tmp_path / "shop", "--map", "timestamp=day").result  # noqa: B018
    assert log_of(tmp_path / "shop") == [
        ("1", "11", NEW_YEAR),
        ("2", "12", NEW_YEAR),
        ("3", "13", NEW_YEAR + DAY),
    ]


def test_a_pattern_takes_some_of_the_parts(job, tmp_path: Path) -> None:
    for number in range(3):
        text_file(tmp_path / "log" / f"part-{number}.csv", f"user_id,item_id\nu{number},i\n")
    job("import", f"{tmp_path}/log/part-[02].csv", "--data", tmp_path / "shop").result  # noqa: B018
    assert log_of(tmp_path / "shop") == [("u0", "i"), ("u2", "i")]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_delimiters_and_gzip_are_found_out(job, tmp_path: Path, delimiter: str) -> None:
    text = 'user_id,item_id\nu,"i,1"\n'.replace(",", delimiter)
    log = gz_file(tmp_path / "log.csv.gz", text)
    job("import", log, "--data", tmp_path / "shop").result  # noqa: B018
    assert log_of(tmp_path / "shop") == [("u", f"i{delimiter}1")]
    assert no_leftovers(tmp_path / "shop")


def test_a_url_that_fsspec_knows(job, tmp_path: Path) -> None:
    files = fsspec.filesystem("memory")
    files.pipe_file("/bucket/log/part-1.csv", LOG.encode())
    pl.DataFrame({"sku": ["A"], "title": ["Apple"]}).write_parquet(tmp_path / "items.parquet")
    files.pipe_file("/bucket/items/i.parquet", (tmp_path / "items.parquet").read_bytes())
    try:
        source, items = "memory://bucket/log", "memory://bucket/items/*.parquet"
        result = job("import", source, "--data", tmp_path / "shop", "--map", MAP, "--items", items).result
    finally:
        files.rm("/bucket", recursive=True)
    assert (result["kept"], result["items"], result["items_without_metadata"]) == (6, 3, 2)
    assert items_of(tmp_path / "shop")["A"]["title"] == "Apple"


UUIDS = [uuid.UUID(int=0xC0FFEE << 96 | row) for row in range(3)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param(["07", "b", "ü"], ["07", "b", "ü"], id="text stays as it is"),
        pytest.param([7, 8, 2**60], ["7", "8", str(2**60)], id="whole numbers"),
        pytest.param(
            pl.Series([7.0, 8.0, 2.0**40]), ["7", "8", str(2**40)], id="whole numbers that pandas made floats"
        ),
        pytest.param(pl.Series([7, 8, 9]).cast(pl.Decimal(38, 0)), ["7", "8", "9"], id="whole decimals"),
        pytest.param([each.bytes for each in UUIDS], [str(each) for each in UUIDS], id="uuids of 16 bytes"),
        pytest.param([b"a", b"b", b"c"], ["a", "b", "c"], id="text as bytes"),
        pytest.param(pl.Series(["x", "y", "x"], dtype=pl.Categorical), ["x", "y", "x"], id="dictionary"),
    ],
)
def test_ids_become_text(job, tmp_path: Path, values: Any, expected: list[str]) -> None:
    pl.DataFrame({"user_id": values, "item_id": ["i", "i", "j"]}).write_parquet(tmp_path / "log.parquet")
    job("import", tmp_path / "log.parquet", "--data", tmp_path / "shop").result  # noqa: B018
    assert [row[0] for row in log_of(tmp_path / "shop")] == expected


UTC, BERLIN = datetime.UTC, datetime.timezone(datetime.timedelta(hours=1))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([NEW_YEAR // MS, NEW_YEAR // MS + 1], [NEW_YEAR, NEW_YEAR + MS], id="seconds"),
        pytest.param([NEW_YEAR / MS, NEW_YEAR / MS + 0.5], [NEW_YEAR, NEW_YEAR + 500], id="seconds with a fraction"),
        pytest.param([NEW_YEAR, NEW_YEAR + 1], [NEW_YEAR, NEW_YEAR + 1], id="milliseconds"),
        pytest.param([NEW_YEAR * 1000, NEW_YEAR * 1000 + 4000], [NEW_YEAR, NEW_YEAR + 4], id="microseconds"),
        pytest.param([NEW_YEAR * 10**6, (NEW_YEAR + 4) * 10**6], [NEW_YEAR, NEW_YEAR + 4], id="nanoseconds"),
        pytest.param([0, 3], [0, 3], id="an order"),
        pytest.param([str(NEW_YEAR // MS), " 1704067201"], [NEW_YEAR, NEW_YEAR + MS], id="seconds as text"),
        pytest.param(["2024-01-01", "2024-01-02"], [NEW_YEAR, NEW_YEAR + DAY], id="ISO dates"),
        pytest.param(["2024-01-01T01:00:00+01:00", "2024-01-01 00:00:01Z"], [NEW_YEAR, NEW_YEAR + MS], id="ISO zones"),
        pytest.param(["2024-01-01 00:00:00.25", "2024-01-01T00:01"], [NEW_YEAR + 250, NEW_YEAR + 60 * MS], id="ISO"),
        pytest.param(
            [datetime.datetime(2024, 1, 1, tzinfo=UTC), datetime.datetime(2024, 1, 2, 1, tzinfo=BERLIN)],
            [NEW_YEAR, NEW_YEAR + DAY],
            id="datetimes with a zone",
        ),
        pytest.param(
            pl.Series([datetime.datetime(2024, 1, 1)] * 2).dt.replace_time_zone("Asia/Tokyo"),
            [NEW_YEAR - 9 * 60 * 60 * MS] * 2,
            id="datetimes of Tokyo",
        ),
        pytest.param([datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)], [NEW_YEAR, NEW_YEAR + DAY], id="dates"),
    ],
)
def test_times_become_milliseconds_utc(job, tmp_path: Path, values: Any, expected: list[int]) -> None:
    frame = pl.DataFrame({"user_id": ["u", "u"], "item_id": ["i", "j"], "timestamp": values})
    frame.write_parquet(tmp_path / "log.parquet")
    result = job("import", tmp_path / "log.parquet", "--data", tmp_path / "shop").result
    assert [row[2] for row in log_of(tmp_path / "shop")] == expected
    assert result["watermark"] == max(expected)


def test_how_times_are_written_can_be_said(job, tmp_path: Path) -> None:
    log = text_file(tmp_path / "log.csv", "user_id,item_id,timestamp\nu,i,31/01/2024\nu,j,01.02.2024\n")
    call = ("import", log, "--data", tmp_path / "shop", "--time-format", "%d/%m/%Y")
    ended = job(*call)
    assert ended.code == 2
    assert "log.csv: column 'timestamp' (timestamp), row 1: '01.02.2024' is no time that can be read" in ended.err
    result = job(*call, "--drop-bad-rows").result
    assert (result["kept"], result["dropped"]) == (1, {"unreadable timestamp": 1})
    assert log_of(tmp_path / "shop") == [("u", "i", NEW_YEAR + 30 * DAY)]


def test_a_field_can_be_left_out(job, tmp_path: Path) -> None:
    log = text_file(tmp_path / "log.csv", "user_id,item_id,timestamp\nu,i,whenever\n")
    job("import", log, "--data", tmp_path / "shop", "--map", "timestamp=").result  # noqa: B018
    assert log_of(tmp_path / "shop") == [("u", "i")]


def test_categories_of_a_list_and_a_catalogue_of_several_parts(job, tmp_path: Path) -> None:
    log = text_file(tmp_path / "log.csv", "user_id,item_id\nu,a\n")
    (tmp_path / "items").mkdir()
    pl.DataFrame({"item_id": ["a"], "categories": [["x", None, "y"]]}).write_parquet(tmp_path / "items/0.parquet")
    pl.DataFrame(
        {"item_id": ["b"], "categories": [[]], "size": [3]}, schema_overrides={"categories": pl.List(pl.String)}
    ).write_parquet(tmp_path / "items/1.parquet")
    job("import", log, "--data", tmp_path / "shop", "--items", tmp_path / "items").result  # noqa: B018
    assert items_of(tmp_path / "shop") == {
        "a": {"categories": ["x", "y"], "size": None},
        "b": {"categories": [], "size": 3},
    }


def test_items_that_say_the_same_twice_are_one(job, tmp_path: Path) -> None:
    log = text_file(tmp_path / "log.csv", "user_id,item_id\nu,a\n")
    items = text_file(tmp_path / "items.csv", "item_id,title,categories\na,Ah,x|y\nb,Be,\na,Ah,x|y\n")
    ended = job("import", log, "--data", tmp_path / "shop", "--items", items)
    assert ended.result["items"] == 2
    assert "1 repeated rows of items are left out" in ended.err


@pytest.mark.parametrize(("choice", "kept", "items"), [("add", 6, {"A", "B", "Z", "C"}), ("drop", 5, {"A", "B", "Z"})])
def test_items_that_only_the_log_knows(job, tmp_path: Path, choice: str, kept: int, items: set[str]) -> None:
    log, table = text_file(tmp_path / "log.csv", LOG), text_file(tmp_path / "items.csv", ITEMS)
    call = ("import", log, "--data", tmp_path / "shop", "--map", MAP, "--items", table)
    result = job(*call, "--unknown-items", choice).result
    assert (result["kept"], set(items_of(tmp_path / "shop"))) == (kept, items)
    assert result["dropped"] == ({"unknown item": 1} if choice == "drop" else {})


def test_only_items_with_interactions(job, tmp_path: Path) -> None:
    log, table = text_file(tmp_path / "log.csv", LOG), text_file(tmp_path / "items.csv", ITEMS)
    job("import", log, "--data", tmp_path / "shop", "--map", MAP, "--items", table, "--only-interacted").result  # noqa: B018
    assert set(items_of(tmp_path / "shop")) == {"A", "B", "C"}


def test_a_log_that_is_too_large_to_load_is_checked_in_stretches(
    job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same result, and the same folder, by the way that a large log takes, with chunks of two rows."""
    log = text_file(tmp_path / "log.csv", LOG)
    more = ("--map", MAP, "--split", "time", "--k-core", "1")
    small = job("import", log, "--data", tmp_path / "small" / "shop", *more).result
    monkeypatch.setattr("offline.importing.finished_folder.MOST_ROWS_TO_LOAD", 0)
    monkeypatch.setattr("offline.importing.spool.CHUNK_ROWS", 2)
    monkeypatch.setattr("offline.importing.row_codes.STRETCH_ROWS", 2)
    large = job("import", log, "--data", tmp_path / "large" / "shop", *more).result
    assert large == small
    assert log_of(tmp_path / "large" / "shop") == log_of(tmp_path / "small" / "shop")
