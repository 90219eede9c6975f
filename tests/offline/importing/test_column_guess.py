"""Guesses by names that shops and research data have, and what is said of them."""

import polars as pl
import pytest

from offline.importing.column_guess import ITEM_GUESSES, guess_columns

TEXT = pl.String()


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["user_id", "item_id", "timestamp"], {"user_id": "user_id", "item_id": "item_id", "timestamp": "timestamp"}),
        (["Customer ID", "StockCode", "InvoiceDate"], ("Customer ID", "StockCode", "InvoiceDate")),
        (["visitorid", "itemid", "timestamp", "event"], ("visitorid", "itemid", "timestamp")),
        (["reviewerID", "asin", "unixReviewTime"], ("reviewerID", "asin", "unixReviewTime")),
        (["userId", "movieId", "rating", "timestamp"], ("userId", "movieId", "timestamp")),
        (["t_dat", "customer_id", "article_id", "price"], ("customer_id", "article_id", "t_dat")),
        (["user_id:token", "item_id:token", "timestamp:float"], ("user_id:token", "item_id:token", "timestamp:float")),
    ],
)
def test_columns_by_their_names(columns: list[str], expected) -> None:
    guess = guess_columns(dict.fromkeys(columns, TEXT))
    if isinstance(expected, tuple):
        expected = dict(zip(("user_id", "item_id", "timestamp"), expected, strict=True))
    assert guess.mapping.items() >= expected.items()


def test_what_could_be_another_is_said() -> None:
    guess = guess_columns(dict.fromkeys(["session_id", "user", "product_id", "sku", "date", "created_at"], TEXT))
    assert guess.mapping == {"user_id": "user", "item_id": "product_id", "timestamp": "created_at"}
    assert guess.reasons == (
        "user_id = column 'user' (by its name; it could also be 'session_id')",
        "item_id = column 'product_id' (by its name; it could also be 'sku')",
        "timestamp = column 'created_at' (by its name; it could also be 'date')",
    )


def test_the_only_column_of_dates_is_the_time() -> None:
    schema = {"user": TEXT, "item": TEXT, "wann": pl.Datetime("us"), "x": pl.Int64()}
    assert guess_columns(schema).mapping["timestamp"] == "wann"
    assert guess_columns(schema).reasons[-1] == "timestamp = column 'wann' (the only column of dates)"
    assert "timestamp" not in guess_columns({**schema, "und": pl.Date()}).mapping


def test_items() -> None:
    columns = ["sku", "Product Name", "genres", "imUrl", "price"]
    assert guess_columns(dict.fromkeys(columns, TEXT), ITEM_GUESSES).mapping == {
        "item_id": "sku",
        "title": "Product Name",
        "categories": "genres",
        "image_url": "imUrl",
    }


def test_nothing_is_guessed_from_nothing() -> None:
    assert guess_columns(dict.fromkeys(["foo", "bar"], TEXT)) == ({}, ())


def test_numbers_of_the_world_are_ids() -> None:
    found = guess_columns(dict.fromkeys(("Customer No.", "Article Nr", "Bought At", "Amount"), pl.String()))
    assert found.mapping == {"user_id": "Customer No.", "item_id": "Article Nr", "timestamp": "Bought At"}
