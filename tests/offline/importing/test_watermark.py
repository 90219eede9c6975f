"""Importing what is new: nothing twice, nothing lost, and everything read as it was the first time."""

import json
import random
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from offline.importing.import_record import read_record
from offline.importing.watermark import NewerRows
from tests.offline.importing.sources import ITEMS, LOG, MAP, bytes_of, items_of, log_of, text_file

NEW = """10,A,2024-01-06T00:00:00Z,buy,4
10,Q,2024-01-07T00:00:00Z,view,3
7,A,2023-12-31T00:00:00Z,view,1
"""


@pytest.fixture
def shop(job, tmp_path: Path) -> Path:
    """The folder after the first import."""
    log, items = text_file(tmp_path / "log.csv", LOG), text_file(tmp_path / "items.csv", ITEMS)
    job("import", log, "--data", tmp_path / "shop", "--map", MAP, "--items", items, "--min-rating", "2").result  # noqa: B018
    return tmp_path / "shop"


def test_a_longer_log_adds_what_is_new(job, shop: Path) -> None:
    """Mapping and --min-rating are those of before. A new row of the newest moment counts, an older one does not."""
    before = log_of(shop)
    text_file(shop.parent / "log.csv", LOG + NEW)
    result = job("import", shop.parent / "log.csv", "--data", shop, "--since-watermark").result
    assert [(row[0], row[1], row[3]) for row in log_of(shop)[len(before) :]] == [
        ("10", "A", "buy"),
        ("10", "Q", "view"),
    ]
    assert log_of(shop)[: len(before)] == before
    assert (result["read"], result["kept"], result["interactions"]) == (9, 2, len(before) + 2)
    assert result["dropped"] == {"below --min-rating": 2, "imported before": 5}
    assert list(items_of(shop)) == ["A", "B", "Z", "C", "Q"]
    assert result["items_without_metadata"] == 1
    assert [entry["kept"] for entry in read_record(shop).imports] == [len(before), 2]


def test_again_changes_no_row(job, shop: Path) -> None:
    text_file(shop.parent / "log.csv", LOG + NEW)
    files = []
    for _ in range(2):
        result = job("import", shop.parent / "log.csv", "--data", shop, "--since-watermark").result
        files.append({name: held for name, held in bytes_of(shop).items() if name != "import.json"})
    assert (result["kept"], result["dropped"]) == (0, {"below --min-rating": 2, "imported before": 7})
    assert files[0] == files[1]


def test_a_part_of_the_log_is_enough(job, shop: Path) -> None:
    part = text_file(shop.parent / "night.csv", LOG.splitlines(keepends=True)[0] + NEW)
    assert job("import", part, "--data", shop, "--since-watermark").result["kept"] == 2


def test_a_late_row_is_said(job, shop: Path) -> None:
    """It was never imported and will not be; of the others with its day and user, none is."""
    late = "7,A,2024-01-02T11:00:00Z,buy,3\n7,B,2024-01-02T11:00:00Z,view,3\n7,B,2024-01-02T11:00:00Z,buy,4\n"
    text_file(shop.parent / "log.csv", LOG + late)
    ended = job("import", shop.parent / "log.csv", "--data", shop, "--since-watermark")
    assert ended.result["dropped"] == {
        "below --min-rating": 1,
        "imported before": 5,
        "older than the watermark": 3,
    }
    assert "warning: 3 rows are older than the newest row of the last import (1704499200000 ms)" in ended.err
    assert "import the whole log with --overwrite" in ended.err
    assert (
        "older" not in job("import", text_file(shop.parent / "log.csv", LOG), "--data", shop, "--since-watermark").err
    )


def test_an_empty_night_changes_nothing(job, shop: Path) -> None:
    before, night = log_of(shop), text_file(shop.parent / "night.csv", LOG.splitlines(keepends=True)[0])
    result = job("import", night, "--data", shop, "--since-watermark").result
    assert (result["read"], result["kept"], result["watermark"]) == (0, 0, read_record(shop).watermark)
    assert log_of(shop) == before


def test_the_unit_of_times_is_that_of_before(job, tmp_path: Path) -> None:
    """By their size alone, the times of the second night would be an order."""
    log, call = tmp_path / "log.csv", ("--data", tmp_path / "shop", "--since-watermark", "--time-unit", "s")
    head = "user_id,item_id,timestamp\n"
    job("import", text_file(log, head + "u,i,50\n"), *call).result  # noqa: B018
    for text in ("", "u,j,70\n"):
        job("import", text_file(log, head + text), *call[:3]).result  # noqa: B018
    assert log_of(tmp_path / "shop") == [("u", "i", 50_000), ("u", "j", 70_000)]


def test_other_fields_than_before_are_refused(job, shop: Path) -> None:
    ended = job(
        "import",
        shop.parent / "log.csv",
        "--data",
        shop,
        "--since-watermark",
        "--map",
        "user_id=customer_key,item_id=sku,timestamp=ordered_at",
    )
    assert ended.code == 2
    assert "the last import had event, item_id, timestamp, user_id, weight" in ended.err


def test_new_metadata_takes_the_place_of_old(job, shop: Path) -> None:
    items = text_file(shop.parent / "items.csv", "sku,name,tags,photo,price\nB,Brown bread,bakery,,\nN,New,,,9\n")
    job("import", shop.parent / "log.csv", "--data", shop, "--since-watermark", "--items", items).result  # noqa: B018
    found = items_of(shop)
    assert list(found) == ["A", "B", "Z", "C", "N"]
    assert found["A"]["title"] == "Apple"
    assert found["B"] == {"title": "Brown bread", "categories": ["bakery"], "image_url": None, "price": "2"}
    assert found["N"]["price"] == "9"


@pytest.mark.parametrize("option", ["--since-watermark", "--overwrite"])
def test_features_follow_their_items(job, shop: Path, option: str) -> None:
    """A, B, Z, C have features; afterwards the order may be another, and new items have a row of NaN."""
    (shop / "features").mkdir()
    np.save(shop / "features" / "text.npy", np.arange(8, dtype=np.float16).reshape(4, 2))
    text_file(shop / "features" / "text.json", "the encoder")
    text_file(shop / "events" / "date=2024-01-01" / "e.parquet", "archived")
    log = text_file(shop.parent / "log.csv", LOG + NEW)
    more = ("--map", MAP) if option == "--overwrite" else ()
    result = job("import", log, "--data", shop, option, *more).result
    features = np.load(shop / "features" / "text.npy")
    old = {"A": [0, 1], "B": [2, 3], "Z": [4, 5], "C": [6, 7]}
    assert features.dtype == np.float16
    for row, item in zip(features.tolist(), items_of(shop), strict=True):
        assert row == old[item] if item in old else np.isnan(row).all()
    assert result["features"] == {"text": {"rows": len(features) - 1, "missing": 1}}
    assert (shop / "features" / "text.json").read_text() == "the encoder"
    assert (shop / "events" / "date=2024-01-01" / "e.parquet").read_text() == "archived"


def test_a_description_of_another_array_is_not_made_true(job, shop: Path) -> None:
    (shop / "features").mkdir()
    np.save(shop / "features" / "text.npy", np.ones((4, 2), np.float32))
    for said in ({"sha256": "ab" * 32, "fingerprint": "cd" * 32}, ["text"]):
        text_file(shop / "features" / "text.json", json.dumps(said))
        job("import", shop.parent / "log.csv", "--data", shop, "--since-watermark").result  # noqa: B018
        assert json.loads((shop / "features" / "text.json").read_text()) == said


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--k-core", "2"), "--k-core and --split hold for a whole log"),
        (("--split", "time"), "--k-core and --split hold for a whole log"),
    ],
)
def test_what_holds_for_a_whole_log_is_refused_for_a_part(job, shop: Path, options, named: str) -> None:
    ended = job("import", shop.parent / "log.csv", "--data", shop, "--since-watermark", *options)
    assert ended.code == 2
    assert named in ended.err


@pytest.mark.parametrize(
    ("first", "named"),
    [
        (("--map", "user_id=customer_key,item_id=sku,timestamp="), "was imported without times"),
        (("--map", MAP, "--split", "leave-one-out"), "was imported with --k-core or a split"),
        (("--map", MAP, "--k-core", "1"), "was imported with --k-core or a split"),
    ],
)
def test_a_dataset_that_cannot_grow(job, tmp_path: Path, first, named: str) -> None:
    log = text_file(tmp_path / "log.csv", LOG)
    job("import", log, "--data", tmp_path / "shop", *first).result  # noqa: B018
    ended = job("import", log, "--data", tmp_path / "shop", "--since-watermark")
    assert ended.code == 2
    assert named in ended.err


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (None, "import.json: there is none"),
        ("{", "import.json: cannot be used"),
        ("[]", "import.json: cannot be used"),
        ('{"format": 1}', "import.json: cannot be used"),
        ('{"format": 99, "watermark": 3}', "import.json: cannot be used"),
    ],
)
def test_a_record_that_cannot_be_used(job, shop: Path, text: str | None, named: str) -> None:
    (shop / "import.json").unlink()
    if text is not None:
        text_file(shop / "import.json", text)
    ended = job("import", shop.parent / "log.csv", "--data", shop, "--since-watermark")
    assert ended.code == 2
    assert named in ended.err
    assert "--overwrite" in ended.err


@pytest.mark.parametrize(
    ("name", "value"),
    [("watermark", "yesterday"), ("time_unit", "days"), ("mapping", ["a"]), ("source_format", "x"), ("format", 2)],
)
def test_a_value_of_a_record_that_cannot_be_used(job, shop: Path, name: str, value: object) -> None:
    record = json.loads((shop / "import.json").read_text())
    text_file(shop / "import.json", json.dumps(record | {name: value}))
    ended = job("import", shop.parent / "log.csv", "--data", shop, "--since-watermark")
    assert ended.code == 2
    assert name in ended.err
    assert repr(value) in ended.err


def test_the_first_night_of_a_dataset_that_will_grow(job, tmp_path: Path) -> None:
    """The same command every night, the first one too."""
    call = ("import", tmp_path / "log.csv", "--data", tmp_path / "shop", "--map", MAP, "--since-watermark")
    kept = []
    for text in (LOG, LOG, LOG + NEW):
        text_file(tmp_path / "log.csv", text)
        kept.append(job(*call).result["kept"])
    assert kept == [6, 0, 2]


def test_any_cut_of_a_log_gives_the_same_dataset(tmp_path: Path) -> None:
    """A log in time order, cut anywhere, also within a moment: first half, then all of it. Beside the log itself."""
    draw = random.Random(0)
    for trial in range(30):
        moments = sorted(draw.randrange(6) for _ in range(20))
        log = pl.DataFrame(
            {
                "user_id": [draw.choice("uv") for _ in moments],
                "item_id": [draw.choice("ab") for _ in moments],
                "timestamp": moments,
            }
        )
        cut = draw.randrange(1, 20)
        folder = tmp_path / str(trial)
        folder.mkdir()
        log[:cut].write_parquet(folder / "interactions.parquet")
        newer = NewerRows(folder, moments[cut - 1])
        rows = pl.concat([log[:cut], *(newer.of(log[start : start + 3]) for start in range(0, 20, 3))])
        assert rows.sort(rows.columns).equals(log.sort(log.columns))
