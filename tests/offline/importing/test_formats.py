"""RecBole, MMRec, MovieLens, Amazon reviews and Last.fm, each as its source hands it out, found out by itself."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.offline.importing.sources import gz_file, items_of, json_lines, log_of, text_file

NEW_YEAR = 1_704_067_200
MS = NEW_YEAR * 1000


def movielens_100k(folder: Path) -> Path:
    text_file(folder / "u.data", f"196\t242\t3\t{NEW_YEAR}\n186\t2\t5\t{NEW_YEAR + 1}\n")
    genres = ["0"] * 19
    comedy = [*genres[:5], "1", *genres[6:]]
    both = [*comedy[:8], "1", *comedy[9:]]
    rows = [
        ["242", "Kolya (1996)", "24-Jan-1997", "", "http://x", *comedy],
        ["2", "L'Ennui á deux (1998)", "01-Jan-1998", "", "", *both],
        ["3", "unknown", "", "", "", "1", *genres[1:]],
    ]
    (folder / "u.item").write_text("".join("|".join(row) + "\n" for row in rows), encoding="latin-1")
    return folder


def test_movielens_100k(job, tmp_path: Path) -> None:
    ended = job("import", movielens_100k(tmp_path / "ml-100k"), "--data", tmp_path / "shop")
    assert (ended.result["format"], ended.result["items"]) == ("movielens", 3)
    assert log_of(tmp_path / "shop") == [("196", "242", MS, 3.0), ("186", "2", MS + 1000, 5.0)]
    found = items_of(tmp_path / "shop")
    assert found["242"] == {
        "title": "Kolya (1996)",
        "categories": ["Comedy"],
        "release_date": "24-Jan-1997",
    }
    assert (found["2"]["title"], found["2"]["categories"]) == ("L'Ennui á deux (1998)", ["Comedy", "Drama"])
    assert found["3"]["categories"] == []


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_movielens_1m(job, tmp_path: Path, encoding: str) -> None:
    folder = tmp_path / "ml-1m"
    text_file(folder / "ratings.dat", f"1::1193::5::{NEW_YEAR}\n2::661::3::{NEW_YEAR}\n")
    (folder / "movies.dat").write_text("1193::Amélie: le film::Comedy|Drama\n661::B::(no genres listed)\n", encoding)
    assert job("import", folder, "--data", tmp_path / "shop").result["format"] == "movielens"
    assert log_of(tmp_path / "shop") == [("1", "1193", MS, 5.0), ("2", "661", MS, 3.0)]
    assert items_of(tmp_path / "shop") == {
        "1193": {"title": "Amélie: le film", "categories": ["Comedy", "Drama"]},
        "661": {"title": "B", "categories": []},
    }


def test_movielens_25m_with_only_good_ratings(job, tmp_path: Path) -> None:
    folder = tmp_path / "ml-25m"
    text_file(folder / "ratings.csv", f"userId,movieId,rating,timestamp\n1,296,5.0,{NEW_YEAR}\n1,306,3.5,{NEW_YEAR}\n")
    text_file(folder / "movies.csv", 'movieId,title,genres\n296,"Pulp, Fiction",Crime|Drama\n306,Red,\n')
    text_file(folder / "links.csv", "movieId,imdbId,tmdbId\n296,1,2\n")
    result = job("import", folder, "--data", tmp_path / "shop", "--min-rating", "4").result
    assert (result["kept"], result["dropped"]) == (1, {"below --min-rating": 1})
    assert items_of(tmp_path / "shop")["296"] == {"title": "Pulp, Fiction", "categories": ["Crime", "Drama"]}


def test_recbole(job, tmp_path: Path) -> None:
    folder = tmp_path / "ml"
    text_file(
        folder / "ml.inter",
        f'user_id:token\titem_id:token\trating:float\ttimestamp:float\nu"1\t7\t4\t{NEW_YEAR}.0\nu2\t8\t2\t{NEW_YEAR}\n',
    )
    text_file(
        folder / "ml.item",
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n7\tToy Story\t1995\tComedy Drama\n",
    )
    ended = job("import", folder, "--data", tmp_path / "shop")
    assert (ended.result["format"], ended.result["items_without_metadata"]) == ("recbole", 1)
    assert log_of(tmp_path / "shop") == [('u"1', "7", MS, 4.0), ("u2", "8", MS, 2.0)]
    assert items_of(tmp_path / "shop")["7"] == {
        "title": "Toy Story",
        "categories": ["Comedy", "Drama"],
        "release_year": "1995",
    }
    assert "weight = column 'rating:float' (by its name)" in ended.err


def mmrec(folder: Path) -> Path:
    rows = "0\t2\t5.0\t1\t0\n0\t0\t5.0\t2\t0\n0\t1\t1.0\t3\t1\n1\t1\t5.0\t1\t0\n1\t3\t5.0\t9\t2\n"
    text_file(folder / "baby.inter", "userID\titemID\trating\ttimestamp\tx_label\n" + rows)
    np.save(folder / "image_feat.npy", np.arange(10, dtype=np.float64).reshape(5, 2))
    np.save(folder / "text_feat.npy", np.arange(15, dtype=np.float32).reshape(5, 3))
    return folder


def test_mmrec(job, tmp_path: Path) -> None:
    """Row r of the arrays is item r; item 4 has no interaction and stays in the catalogue."""
    result = job("import", mmrec(tmp_path / "baby"), "--data", tmp_path / "shop").result
    assert (result["format"], result["items"], result["users"]) == ("mmrec", 5, 2)
    log = pl.read_parquet(tmp_path / "shop" / "interactions.parquet")
    assert log["split"].to_list() == ["train", "train", "valid", "train", "test"]
    assert log["item_id"].to_list() == ["2", "0", "1", "1", "3"]
    assert list(items_of(tmp_path / "shop")) == ["0", "1", "2", "3", "4"]
    image, text = (np.load(tmp_path / "shop" / "features" / f"{name}.npy") for name in ("image", "text"))
    assert (image.dtype, image.tolist()) == (np.float32, np.arange(10).reshape(5, 2).tolist())
    assert text.tolist() == np.arange(15).reshape(5, 3).tolist()


def test_mmrec_features_follow_the_items_that_are_kept(job, tmp_path: Path) -> None:
    call = ("--map", "split=", "--k-core", "1,2")
    job("import", mmrec(tmp_path / "baby"), "--data", tmp_path / "shop", *call).result  # noqa: B018
    assert list(items_of(tmp_path / "shop")) == ["1"]
    assert np.load(tmp_path / "shop" / "features" / "image.npy").tolist() == [[2, 3]]


def test_mmrec_with_a_split_that_contradicts_its_times(job, tmp_path: Path) -> None:
    """Refused with what to do, and then taken."""
    text_file(mmrec(tmp_path / "baby") / "baby.inter", "userID\titemID\ttimestamp\tx_label\n0\t0\t9\t0\n0\t1\t3\t2\n")
    ended = job("import", tmp_path / "baby", "--data", tmp_path / "shop")
    assert ended.code == 2
    assert "leave out 'timestamp' to keep this split" in ended.err
    assert f"{tmp_path}/shop/interactions.parquet" in ended.err
    assert job("import", tmp_path / "baby", "--data", tmp_path / "shop", "--map", "timestamp=").result["kept"] == 2


REVIEWS_2014 = [
    {"reviewerID": "A1", "asin": "B01", "overall": 5.0, "unixReviewTime": NEW_YEAR, "helpful": [1, 2], "summary": "ü"},
    {"reviewerID": "A2", "asin": "B02", "overall": 2.0, "unixReviewTime": NEW_YEAR + 1},
]


def test_amazon_2014(job, tmp_path: Path) -> None:
    """Its metadata is written as Python writes it, and a category is a path."""
    reviews = gz_file(tmp_path / "reviews_Beauty_5.json.gz", json_lines(REVIEWS_2014))
    meta = gz_file(
        tmp_path / "meta_Beauty.json.gz",
        "{'asin': 'B01', 'title': \"Nail's polish\", 'imUrl': 'http://i/1.jpg', 'brand': 'OPI', 'price': 3.5, "
        "'categories': [['Beauty', 'Makeup', 'Nails'], ['Beauty', 'Gifts']], 'description': 'Red'}\n",
    )
    result = job("import", reviews, "--items", meta, "--data", tmp_path / "shop").result
    assert (result["format"], result["items_without_metadata"]) == ("amazon", 1)
    assert log_of(tmp_path / "shop") == [("A1", "B01", MS, 5.0), ("A2", "B02", MS + 1000, 2.0)]
    assert items_of(tmp_path / "shop")["B01"] == {
        "title": "Nail's polish",
        "categories": ["Beauty > Makeup > Nails", "Beauty > Gifts"],
        "image_url": "http://i/1.jpg",
        "brand": "OPI",
        "description": "Red",
    }


def test_amazon_2018_and_its_metadata_in_one_folder(job, tmp_path: Path) -> None:
    folder = tmp_path / "beauty"
    text_file(folder / "All_Beauty.json", json_lines(REVIEWS_2014))
    row = {"asin": "B02", "title": "Soap", "category": ["Beauty", "Soap"], "imageURL": ["http://i/2.jpg"]}
    text_file(folder / "meta_All_Beauty.json", json_lines([row, row]))
    job("import", folder, "--data", tmp_path / "shop").result  # noqa: B018
    found = items_of(tmp_path / "shop")["B02"]
    assert (found["title"], found["categories"], found["image_url"]) == ("Soap", ["Beauty > Soap"], "http://i/2.jpg")


def test_amazon_2023(job, tmp_path: Path) -> None:
    review = {"user_id": "AE", "asin": "B09", "parent_asin": "B00", "rating": 5.0, "timestamp": MS + 7}
    log = gz_file(tmp_path / "Video_Games.jsonl.gz", json_lines([review, review | {"user_id": "AF"}]))
    item = {
        "parent_asin": "B00",
        "title": "Chess",
        "categories": ["Video Games", "Board"],
        "images": [{"thumb": "http://i/t.jpg", "large": "http://i/l.jpg", "hi_res": None}],
        "store": "Queen",
        "description": ["One.", "Two."],
    }
    meta = text_file(tmp_path / "meta_Video_Games.jsonl", json_lines([item]))
    assert job("import", log, "--data", tmp_path / "shop", "--items", meta).result["format"] == "amazon"
    assert log_of(tmp_path / "shop") == [("AE", "B00", MS + 7, 5.0), ("AF", "B00", MS + 7, 5.0)]
    assert items_of(tmp_path / "shop")["B00"] == {
        "title": "Chess",
        "categories": ["Video Games > Board"],
        "image_url": "http://i/l.jpg",
        "brand": "Queen",
        "description": "One. Two.",
    }


def test_plain_json_lines_are_a_table(job, tmp_path: Path) -> None:
    lines = json_lines([{"user": 1, "product_id": "p", "ts": NEW_YEAR, "action": "view", "more": {"a": [1]}}])
    result = job("import", text_file(tmp_path / "log.jsonl", lines), "--data", tmp_path / "shop").result
    assert result["format"] == "table"
    assert log_of(tmp_path / "shop") == [("1", "p", MS, "view")]


def test_a_format_can_be_told(job, tmp_path: Path) -> None:
    """ratings.csv beside movies.csv is MovieLens, unless the caller says that it is a table."""
    log = text_file(tmp_path / "x" / "ratings.csv", "userId,movieId,rating,timestamp\n1,2,3,4\n")
    text_file(tmp_path / "x" / "movies.csv", "movieId,title,genres\n2,T,G\n")
    result = job("import", log, "--data", tmp_path / "shop", "--format", "table").result
    assert result["format"] == "table"
    assert items_of(tmp_path / "shop") == {"2": {}}
