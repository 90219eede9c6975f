"""The flags of `import`."""

from typing import Annotated, Literal

import typer

FormatOption = Literal["auto", "table", "recbole", "mmrec", "movielens", "amazon", "lastfm"]

Log = Annotated[
    str,
    typer.Argument(
        help="The log: a file, a folder of parts, a pattern, or any of these behind a URL such as s3://bucket/log."
    ),
]
ItemsTable = Annotated[
    str | None, typer.Option("--items", help="Table of the items, named like the log; other columns are kept.")
]
Map = Annotated[
    str | None,
    typer.Option(
        "--map",
        metavar="field=column,...",
        help="Columns of user_id, item_id, timestamp, event, weight, split; without it they are guessed. An empty "
        "column leaves a field out: timestamp=.",
    ),
]
ItemsMap = Annotated[
    str | None,
    typer.Option("--items-map", metavar="field=column,...", help="The same for item_id, title, categories, image_url."),
]
Format = Annotated[
    FormatOption, typer.Option("--format", help="What the log is; auto: found out by its files and first lines.")
]
Delimiter = Annotated[
    str | None, typer.Option("--delimiter", help="Between the columns of a CSV; without it, found out.")
]
CategoryDelimiter = Annotated[
    str | None,
    typer.Option("--category-delimiter", help="Between the categories of an item that are text; without it, |."),
]
TimeUnit = Annotated[
    Literal["auto", "s", "ms", "us", "ns", "order"],
    typer.Option("--time-unit", help="Unit of times that are numbers; order: they only say what came first."),
]
TimeFormat = Annotated[
    str | None, typer.Option("--time-format", help="How times are written, such as %d/%m/%Y; without it, ISO 8601.")
]
MinRating = Annotated[float | None, typer.Option("--min-rating", help="Keep interactions with at least this weight.")]
KCore = Annotated[
    str | None,
    typer.Option(
        "--k-core",
        metavar="<n> or <users>,<items>",
        help="Keep users and items with at least so many interactions, again and again until nothing changes.",
    ),
]
Split = Annotated[
    Literal["none", "time", "leave-one-out"],
    typer.Option("--split", help="What is held out: none leaves it to the jobs; time: the newest of all."),
]
ValidShare = Annotated[float, typer.Option("--valid-share", help="Of the interactions, for --split time.")]
TestShare = Annotated[float, typer.Option("--test-share", help="Of the interactions, for --split time.")]
UnknownItems = Annotated[
    Literal["add", "drop", "refuse"] | None,
    typer.Option("--unknown-items", help="Items that --items lacks: add them (without it), or drop their rows."),
]
OnlyInteracted = Annotated[
    bool, typer.Option("--only-interacted", help="Leave out items without interactions; a k-core does so anyway.")
]
DropBadRows = Annotated[
    bool, typer.Option("--drop-bad-rows", help="Leave out rows that cannot be used, and count them.")
]
SinceWatermark = Annotated[
    bool,
    typer.Option(
        "--since-watermark",
        help="Add what is newer than the last import, read as it was then; rows that come late, with an older time, "
        "are counted and left out.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the dataset; features follow their items.")]
