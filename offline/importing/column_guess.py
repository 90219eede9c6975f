"""A guess which column is which field, by its name and, for the time, by what it holds; and why, in plain words."""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

import polars as pl

from offline.importing.column_map import ColumnMap

# Names as `_plain` leaves them, the surest first.
_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "user_id": (
        *("userid", "user", "uid", "customerid", "customer", "customerkey", "customernumber", "clientid", "client"),
        *("memberid", "member", "accountid", "account", "reviewerid", "buyerid", "shopperid", "visitorid", "personid"),
        *("profileid", "playerid", "readerid", "subscriberid", "userpseudoid", "userhash", "useruuid", "sessionid"),
    ),
    "item_id": (
        *("itemid", "item", "iid", "productid", "product", "productkey", "productcode", "sku", "parentasin", "asin"),
        *("articleid", "article", "movieid", "trackid", "songid", "artistid", "albumid", "bookid", "isbn", "videoid"),
        *("contentid", "listingid", "offerid", "variantid", "goodsid", "recipeid", "gameid", "newsid", "postid"),
        *("stockcode", "itemcode", "itemkey", "ean", "gtin", "upc", "businessid", "placeid", "courseid"),
    ),
    "timestamp": (
        *("timestamp", "timestampms", "ts", "time", "datetime", "unixtime", "unixreviewtime", "eventtime", "eventts"),
        *(
            "eventtimestamp",
            "createdat",
            "orderedat",
            "occurredat",
            "purchasedat",
            "viewedat",
            "clickedat",
            "listenedat",
        ),
        *("ratedat", "orderdate", "ordertime", "purchasedate", "invoicedate", "transactiondate", "eventdate", "date"),
        *("day", "tdat", "createdon", "created", "boughtat", "soldat", "orderedon", "orderdatetime", "updatedat"),
    ),
    "event": (
        *("event", "eventtype", "eventname", "action", "actiontype", "behavior", "behaviour", "behaviortype"),
        *("interaction", "interactiontype", "activity", "activitytype"),
    ),
    "weight": ("weight", "rating", "stars", "overall", "score", "playcount", "plays", "listencount"),
    "split": ("split",),
    "title": (
        *("title", "name", "productname", "producttitle", "itemname", "itemtitle", "movietitle", "artistname"),
        *("trackname", "bookname", "booktitle", "prodname", "displayname", "label"),
    ),
    "categories": (
        *("categories", "category", "genres", "genre", "tags", "categorypath", "categoryname", "categorycode"),
        *(
            "producttype",
            "producttypename",
            "productcategory",
            "itemcategory",
            "department",
            "departmentname",
            "topics",
        ),
    ),
    "image_url": (
        *("imageurl", "image", "imagelink", "imurl", "img", "imgurl", "picture", "pictureurl", "thumbnail"),
        *("thumbnailurl", "coverurl", "cover", "photo", "photourl", "mainimage"),
    ),
}

LOG_GUESSES: Final = ("user_id", "item_id", "timestamp", "event", "weight", "split")
ITEM_GUESSES: Final = ("item_id", "title", "categories", "image_url")


class ColumnGuess(NamedTuple):
    """What was guessed and why."""

    mapping: ColumnMap  # field -> column; a field of which nothing is known is absent
    reasons: tuple[str, ...]  # one line for each field that was found, and for each choice that could have been another


def guess_columns(schema: Mapping[str, pl.DataType], fields: tuple[str, ...] = LOG_GUESSES) -> ColumnGuess:
    """Guess which column holds which field.

    Case, spaces and signs of a name mean nothing, `No.` and `Nr` are `id`, and a name such as `user_id:token` (RecBole)
    counts without its type.
    A column serves one field. With no name that says time, the one column of dates or datetimes is taken.

    Args:
        schema: names and types of the columns of a table.
        fields: to look for, `LOG_GUESSES` or `ITEM_GUESSES` or a part of them.
    """
    mapping: ColumnMap = {}
    reasons: list[str] = []
    for field in fields:
        ranks = {name: rank for rank, name in enumerate(_NAMES[field])}
        found = {column: min(ranks.get(name, len(ranks)) for name in _spellings(column)) for column in schema}
        named = [column for column in schema if found[column] < len(ranks) and column not in mapping.values()]
        named.sort(key=found.__getitem__)
        why = "by its name"
        if not named and field == "timestamp":
            dated = [column for column, kind in schema.items() if isinstance(kind, pl.Datetime | pl.Date)]
            named, why = (dated, "the only column of dates") if len(dated) == 1 else ([], "")
        if named:
            mapping[field] = named[0]
            others = f"; it could also be {', '.join(map(repr, named[1:]))}" if named[1:] else ""
            reasons.append(f"{field} = column {named[0]!r} ({why}{others})")
    return ColumnGuess(mapping, tuple(reasons))


def _spellings(column: str) -> tuple[str, str]:
    """A name, and the same with `id` for the numbers of the world: `Customer No.` is a customer id."""
    plain = _plain(column)
    return plain, re.sub("(number|num|nr|no)$", "id", plain)


def _plain(column: str) -> str:
    return re.sub(r"[^a-z0-9]", "", column.partition(":")[0].casefold())
