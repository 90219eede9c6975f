"""Every source and option that cannot be used: exit code 2, one line with the cure, and nothing changed."""

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.offline.importing.sources import LOG, gz_file, no_leftovers, text_file

HEAD = "user_id,item_id,timestamp,weight\n"

# What is wrong -> (name of the log, its text, options, what the line must say, the cure it must give)
BAD_LOGS: dict[str, tuple[str, str | bytes, tuple[str, ...], str, str]] = {
    "no such column": ("log.csv", LOG, ("--map", "user_id=nobody,item_id=sku"), "column 'nobody' for user_id", "--map"),
    "two columns for a field": (
        *("log.csv", LOG, ("--map", "user_id=a,user_id=b")),
        "two columns for user_id ('a' and 'b')",
        "name one column",
    ),
    "one column for two fields": (
        *("log.csv", LOG, ("--map", "user_id=sku,item_id=sku")),
        "column 'sku' is given for user_id and item_id",
        "another column",
    ),
    "no such field": (
        "log.csv",
        LOG,
        ("--map", "person=sku"),
        "'person=sku' is not field=column",
        "user_id=customer_key",
    ),
    "nothing to guess from": (
        *("log.csv", "foo,bar\n1,2\n", ()),
        "log.csv: no column is known for user_id and item_id",
        "(columns present: foo, bar)",
    ),
    "unreadable date": (
        *("log.csv", HEAD + "u,i,2024-01-01,1\nu,j,yesterday,1\n", ()),
        "log.csv: column 'timestamp' (timestamp), row 1: 'yesterday' is no time",
        "--time-format",
    ),
    "no date at all": (
        *("log.csv", HEAD + "u,i,2024-01-01,1\nu,j,,1\n", ()),
        "column 'timestamp' (timestamp), row 1: None is no time",
        "--drop-bad-rows",
    ),
    "null user": (
        "log.csv",
        HEAD + "u,i,1,1\n,j,2,1\n",
        (),
        "column 'user_id' (user_id), row 1: None is null",
        "--drop",
    ),
    "empty item": ("log.csv", HEAD + 'u,i,1,1\nu,"",2,1\n', (), "(item_id), row 1: '' is an empty string", "--drop"),
    "long id": ("log.csv", HEAD + f"{'u' * 257},i,1,1\n", (), "row 0: 'uuuu", "at most 256 characters"),
    "negative weight": ("log.csv", HEAD + "u,i,1,1\nu,j,2,-3\n", (), "(weight), row 1: '-3' is negative", "at least 0"),
    "weight is NaN": ("log.csv", HEAD + "u,i,1,NaN\n", (), "(weight), row 0: 'NaN' is not finite", "at least 0"),
    "infinite weight": ("log.csv", HEAD + "u,i,1,inf\n", (), "(weight), row 0: 'inf' is not finite", "at least 0"),
    "weight is a word": ("log.csv", HEAD + "u,i,1,much\n", (), "(weight), row 0: 'much' is no number", "at least 0"),
    "infinite time": ("log.csv", HEAD + "u,i,5,1\nu,j,1e999,1\n", (), "row 1: '1e999' is no time", "--drop-bad-rows"),
    "units mixed": (
        *("log.csv", HEAD + "u,i,1704067200,1\nu,j,1704067200000,1\n", ()),
        "the times go from 1704067200 to 1704067200000, which looks like s beside ms",
        "--time-unit",
    ),
    "a time ahead": (
        *("log.csv", HEAD + "u,i,2024-01-01,1\nu,j,2999-01-01,1\n", ()),
        "timestamp, row 1: 32472144000000 ms is more than a day ahead",
        "(0 more such rows beside it)",
    ),
    "unknown split": ("log.csv", "user_id,item_id,split\nu,i,dev\n", (), "row 0: 'dev' is none of train", "split="),
    "no row": ("log.csv", HEAD, (), "log.csv: holds no interactions", "name a log that has rows"),
    "no byte": ("log.csv", "", (), "log.csv: is empty", "a line of column names"),
    "a quotation mark that stays open": (
        *("log.csv", HEAD + "u,i,1,1\nu,j,2,1\n" + 'v,"i,3,1\n' + "v,j,4,1\n" * 3, ()),
        "a quotation mark in line 4 is never closed",
        "close it, or double one",
    ),
    "a quotation mark in the last line": (
        *("log.csv", HEAD + 'u,i,1,1\nu,"j,2,1\n', ()),
        "a quotation mark in line 3 is never closed",
        "close it, or double one",
    ),
    "a column twice": (
        *("log.csv", "user,item,item\nu,i,j\n", ()),
        "column 'item' for item_id stands there more than once",
        "rename one",
    ),
    "a zero byte in an id": (
        "log.csv",
        HEAD + "u,i\0j,1,1\n",
        (),
        "(item_id), row 0: 'i\\x00j' holds a zero",
        "without",
    ),
    "a column with a comma": (
        *("log.csv", 'foo,"Bemerkung, frei"\n1,2\n', ()),
        "no column is known for user_id and item_id",
        "(columns present: foo, 'Bemerkung, frei')",
    ),
    "a field too many": ("log.csv", HEAD + "u,i,1,1\nu,i,1,1,1\n", (), "line 3 has 5 fields, the first has 4", "--del"),
    "no UTF-8": ("log.csv", HEAD.encode() + b"u,\xff,1,1\n", (), "log.csv: line 2 is no text in UTF-8", "UTF-8"),
    "broken JSON": (
        *("log.jsonl", '{"user_id": "u", "item_id": "i"}\n{"user_id": "u", \n', ()),
        "log.jsonl: line 2 is no JSON",
        "correct or remove it",
    ),
    "JSON, but no object": (
        "log.jsonl",
        '{"user_id": 1, "item_id": 2}\n[1]\n',
        (),
        "line 2 is no JSON object",
        "write",
    ),
    "a gap in JSON lines": ("log.jsonl", '{"user_id": 1, "item_id": 2}\n\n{}\n', (), "line 2 is empty", "one JSON"),
    "no parquet": ("log.parquet", "PAR1", (), "log.parquet: cannot be read as parquet", "write it again"),
    "a kind of file that is not read": (
        "log.xlsx",
        LOG,
        (),
        "log.xlsx: its name does not end in one of .parquet",
        "ren",
    ),
    "not the format it is said to be": (
        "log.csv",
        LOG,
        ("--format", "movielens"),
        "does not look like movielens",
        "corr",
    ),
    "rating without a rating": (
        *("log.csv", "user_id,item_id\nu,i\n", ("--min-rating", "3")),
        "--min-rating needs a rating",
        "weight=COLUMN",
    ),
    "split without a time": (
        "log.csv",
        "user_id,item_id\nu,i\n",
        ("--split", "time"),
        "needs a time",
        "timestamp=COLUMN",
    ),
    "split twice": (
        *("log.csv", "user_id,item_id,timestamp,split\nu,i,1,train\n", ("--split", "time")),
        "the source has a split already",
        "--map split=",
    ),
    "no core": (
        "log.csv",
        HEAD + "u,i,1,1\n",
        ("--k-core", "2"),
        "nothing is left of 1 interactions (1 below",
        "ask for",
    ),
    "a core of nothing": ("log.csv", LOG, ("--k-core", "0"), "--k-core '0'", "a whole number from 1"),
    "a share above all": ("log.csv", LOG, ("--split", "time", "--test-share", "1.5"), "--test-share 1.5", "below 1"),
    "shares that leave nothing": (
        *("log.csv", HEAD + "u,i,1,1\nu,j,2,1\n", ("--split", "time", "--valid-share", ".5", "--test-share", ".5")),
        "nothing is left to train on",
        "smaller shares",
    ),
    "an id that is a list": (
        "log.parquet",
        "",
        (),
        "column 'user_id' has type List(Int64), which cannot be an id",
        "name",
    ),
}


@pytest.mark.parametrize("problem", BAD_LOGS)
def test_a_log_that_cannot_be_used(job, tmp_path: Path, problem: str) -> None:
    name, content, options, named, cure = BAD_LOGS[problem]
    log = tmp_path / name
    if problem == "an id that is a list":
        pl.DataFrame({"user_id": [[1]], "item_id": ["i"]}).write_parquet(log)
    else:
        log.write_bytes(content if isinstance(content, bytes) else content.encode())
    ended = job("import", log, "--data", tmp_path / "shop", *options)
    lines = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert (ended.code, ended.out, len(lines)) == (2, "", 1), ended.err
    assert named in lines[0]
    assert cure in lines[0]
    assert "Traceback" not in ended.err
    assert not (tmp_path / "shop").exists()
    assert no_leftovers(tmp_path / "shop")


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("nowhere.csv", "nowhere.csv: no such file or folder"),
        ("nowhere-*.csv", "nowhere-*.csv: holds no file of the kinds"),
        ("memory://nowhere/log.csv", "memory://nowhere/log.csv: nothing is there"),
        ("nonsense://bucket/log.csv", "nonsense://bucket/log.csv: cannot be read (Protocol not known: nonsense"),
    ],
)
def test_a_source_that_is_not_there(job, tmp_path: Path, source: str, named: str) -> None:
    place = source if "://" in source else tmp_path / source
    ended = job("import", place, "--data", tmp_path / "shop")
    assert (ended.code, ended.out) == (2, "")
    assert named in ended.err


def test_a_password_in_a_url_is_not_repeated(job, tmp_path: Path) -> None:
    ended = job("import", "nonsense://key:s3cr3t@bucket/log.csv", "--data", tmp_path / "shop")
    assert ended.code == 2
    assert "s3cr3t" not in ended.err


def test_files_of_several_kinds(job, tmp_path: Path) -> None:
    text_file(tmp_path / "log" / "a.csv", "user_id,item_id\nu,i\n")
    pl.DataFrame({"user_id": ["u"], "item_id": ["i"]}).write_parquet(tmp_path / "log" / "b.parquet")
    ended = job("import", tmp_path / "log", "--data", tmp_path / "shop")
    assert ended.code == 2
    assert "holds files of several kinds (.csv, .parquet)" in ended.err


def test_a_part_that_lacks_a_column_is_named(job, tmp_path: Path) -> None:
    text_file(tmp_path / "log" / "a.csv", "user_id,item_id\nu,i\n")
    text_file(tmp_path / "log" / "b.csv", "user_id,thing\nu,i\n")
    ended = job("import", tmp_path / "log", "--data", tmp_path / "shop")
    assert ended.code == 2
    assert (
        f"{tmp_path}/log/b.csv: column 'item_id' for item_id is not there (columns present: user_id, thing)"
        in ended.err
    )


@pytest.mark.parametrize("name", ["log.csv.gz", "log.jsonl.gz"])
def test_gzip_that_ends_too_early(job, tmp_path: Path, name: str) -> None:
    text = LOG * 100 if "csv" in name else '{"user_id": "u", "item_id": "i"}\n' * 100
    whole = gzip.compress(text.encode())
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    ended = job("import", tmp_path / name, "--data", tmp_path / "shop")
    assert (ended.code, ended.out) == (2, ""), ended.err
    assert f"{name}: is no whole gzip file" in ended.err


def test_what_is_called_gzip_and_is_none(job, tmp_path: Path) -> None:
    text_file(tmp_path / "log.csv.gz", LOG)
    ended = job("import", tmp_path / "log.csv.gz", "--data", tmp_path / "shop")
    assert ended.code == 2
    assert "log.csv.gz: is no whole gzip file (Not a gzipped file" in ended.err


def test_a_broken_line_inside_of_gzip_is_named(job, tmp_path: Path) -> None:
    log = gz_file(tmp_path / "log.jsonl.gz", '{"user_id": "u", "item_id": "i"}\n' * 41 + "{'user_id': oops}\n")
    ended = job("import", log, "--data", tmp_path / "shop")
    assert ended.code == 2
    assert "log.jsonl.gz: line 42 is no JSON" in ended.err


def test_bad_rows_can_be_dropped_and_are_counted(job, tmp_path: Path) -> None:
    rows = ["u,i,2024-01-01,1", ",i,2024-01-01,1", "u,,2024-01-01,1", "u,i,never,1", "u,i,2024-01-01,-1"]
    log = text_file(tmp_path / "log.csv", HEAD + "\n".join([*rows, "u,j,2999-01-01,1", "v,j,2024-01-02,1"]))
    result = job("import", log, "--data", tmp_path / "shop", "--drop-bad-rows").result
    assert (result["read"], result["kept"], result["users"], result["items"]) == (7, 2, 2, 2)
    assert result["dropped"] == {
        "null user_id": 1,
        "null item_id": 1,
        "unreadable timestamp": 1,
        "negative weight": 1,
        "timestamp ahead": 1,
    }
    assert result["watermark"] == 1_704_153_600_000  # the time ahead is not it


def test_an_array_whose_rows_do_not_match(job, tmp_path: Path) -> None:
    text_file(tmp_path / "mm" / "x.inter", "userID\titemID\tx_label\n0\t0\t0\n0\t4\t0\n")
    np.save(tmp_path / "mm" / "image_feat.npy", np.ones((3, 2), np.float32))
    ended = job("import", tmp_path / "mm", "--data", tmp_path / "shop")
    assert ended.code == 2
    assert "item_id, row 1: '4' is not among the items" in ended.err
    np.save(tmp_path / "mm" / "text_feat.npy", np.ones((5, 2), np.float32))
    ended = job("import", tmp_path / "mm", "--data", tmp_path / "shop")
    assert ended.code == 2
    assert "the arrays have different numbers of rows" in ended.err
    np.save(tmp_path / "mm" / "image_feat.npy", np.ones((5, 2), np.int64))
    assert "image_feat.npy: holds int64" in job("import", tmp_path / "mm", "--data", tmp_path / "shop").err
