"""The flags of `try`, those of importing worded for a newcomer."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Log = Annotated[
    str,
    typer.Argument(
        help="The log: a CSV or Parquet file, a folder of parts, a URL, or a dataset folder that is there already."
    ),
]
Items = Annotated[
    str | None, typer.Option("--items", help="Table of the items: titles, categories; without it, ids alone.")
]
ColumnsOfLog = Annotated[
    str | None,
    typer.Option(
        "--map",
        metavar="field=column,...",
        help="Columns of user_id, item_id, timestamp, event, weight; without it they are guessed. An empty column "
        "leaves a field out: timestamp=.",
    ),
]
ColumnsOfItems = Annotated[
    str | None,
    typer.Option("--items-map", metavar="field=column,...", help="The same for item_id, title, categories."),
]
Delimiter = Annotated[
    str | None, typer.Option("--delimiter", help="Between the columns of a CSV; without it, found out.")
]
TimeUnitOption = Annotated[
    Literal["auto", "s", "ms", "us", "ns", "order"],
    typer.Option("--time-unit", help="Unit of times that are numbers; order: they only say what came first."),
]
TimeFormat = Annotated[
    str | None, typer.Option("--time-format", help="How times are written, such as %d/%m/%Y; without it, ISO 8601.")
]
MinRating = Annotated[float | None, typer.Option("--min-rating", help="Keep interactions with at least this weight.")]
DropBadRows = Annotated[
    bool, typer.Option("--drop-bad-rows", help="Leave out rows that cannot be used, and count them.")
]
Keep = Annotated[Path | None, typer.Option("--data", help="Folder for the dataset; without it, one below --home.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the dataset in --data.")]
Quick = Annotated[bool, typer.Option("--quick", help="Leave out SASRec, the slowest of the peers.")]
TryRecipe = Annotated[
    Literal["tiny", "standard"],
    typer.Option("--recipe", help="tiny: a minute, to see how it goes. standard: what MMGRec can do."),
]
JsonFile = Annotated[Path | None, typer.Option("--json", help="File for table and verdict as JSON.")]
NoServe = Annotated[bool, typer.Option("--no-serve", help="End with table and verdict.")]
Check = Annotated[bool, typer.Option("--check", help="Stop after the first answer; last line is JSON.")]
Port = Annotated[int, typer.Option("--port", min=1, max=65535, help="First port to try; a taken one moves up.")]
