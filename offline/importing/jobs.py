"""The jobs `import` and `fetch`. `offline.cli` puts them on the map."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from offline import progress
from offline.errors import BadInputError
from offline.options import Data

FormatOption = Literal["auto", "table", "recbole", "mmrec", "movielens", "amazon", "lastfm"]


def import_dataset(
    source: Annotated[
        str,
        typer.Argument(
            help="The log: a file, a folder of parts, a pattern, or any of these behind a URL such as s3://bucket/log."
        ),
    ],
    data: Data,
    items: Annotated[
        str | None, typer.Option("--items", help="Table of the items, named like the log; other columns are kept.")
    ] = None,
    mapping: Annotated[
        str | None,
        typer.Option(
            "--map",
            metavar="field=column,...",
            help="Columns of user_id, item_id, timestamp, event, weight, split; without it they are guessed. An empty "
            "column leaves a field out: timestamp=.",
        ),
    ] = None,
    items_mapping: Annotated[
        str | None,
        typer.Option(
            "--items-map", metavar="field=column,...", help="The same for item_id, title, categories, image_url."
        ),
    ] = None,
    source_format: Annotated[
        FormatOption, typer.Option("--format", help="What the log is; auto: found out by its files and first lines.")
    ] = "auto",
    delimiter: Annotated[
        str | None, typer.Option("--delimiter", help="Between the columns of a CSV; without it, found out.")
    ] = None,
    category_delimiter: Annotated[
        str | None,
        typer.Option("--category-delimiter", help="Between the categories of an item that are text; without it, |."),
    ] = None,
    time_unit: Annotated[
        Literal["auto", "s", "ms", "us", "ns", "order"],
        typer.Option("--time-unit", help="Unit of times that are numbers; order: they only say what came first."),
    ] = "auto",
    time_format: Annotated[
        str | None, typer.Option("--time-format", help="How times are written, such as %d/%m/%Y; without it, ISO 8601.")
    ] = None,
    min_rating: Annotated[
        float | None, typer.Option("--min-rating", help="Keep interactions with at least this weight.")
    ] = None,
    k_core: Annotated[
        str | None,
        typer.Option(
            "--k-core",
            metavar="<n> or <users>,<items>",
            help="Keep users and items with at least so many interactions, again and again until nothing changes.",
        ),
    ] = None,
    split: Annotated[
        Literal["none", "time", "leave-one-out"],
        typer.Option("--split", help="What is held out: none leaves it to the jobs; time: the newest of all."),
    ] = "none",
    valid_share: Annotated[float, typer.Option("--valid-share", help="Of the interactions, for --split time.")] = 0.1,
    test_share: Annotated[float, typer.Option("--test-share", help="Of the interactions, for --split time.")] = 0.1,
    unknown_items: Annotated[
        Literal["add", "drop", "refuse"] | None,
        typer.Option("--unknown-items", help="Items that --items lacks: add them (without it), or drop their rows."),
    ] = None,
    only_interacted: Annotated[
        bool, typer.Option("--only-interacted", help="Leave out items without interactions; a k-core does so anyway.")
    ] = False,
    drop_bad_rows: Annotated[
        bool, typer.Option("--drop-bad-rows", help="Leave out rows that cannot be used, and count them.")
    ] = False,
    since_watermark: Annotated[
        bool, typer.Option("--since-watermark", help="Add what is newer than the last import, read as it was then.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the dataset; features follow their items.")
    ] = False,
) -> None:
    """Bring a log of another format into a dataset folder. Prints what was read, kept and dropped as JSON."""
    from offline.importing.column_map import ITEM_FIELDS, LOG_FIELDS, parse_map
    from offline.importing.import_request import ImportRequest
    from offline.importing.importer import run_import
    from offline.importing.log_steps import LogFilters
    from offline.importing.sources import Source

    request = ImportRequest(
        source=Source(
            log=source,
            items=items,
            format=None if source_format == "auto" else source_format,
            mapping={} if mapping is None else parse_map(mapping, LOG_FIELDS, "--map"),
            items_mapping={} if items_mapping is None else parse_map(items_mapping, ITEM_FIELDS, "--items-map"),
            delimiter=delimiter_of(delimiter),
            category_delimiter=category_delimiter,
        ),
        folder=data,
        filters=LogFilters(
            min_rating=min_rating,
            k_core=None if k_core is None else _core(k_core),
            split=split,
            valid_share=_share(valid_share, "--valid-share"),
            test_share=_share(test_share, "--test-share"),
            drop_bad_rows=drop_bad_rows,
            unknown_items=unknown_items,
        ),
        time_unit=None if time_unit == "auto" else time_unit,
        time_format=time_format,
        only_interacted=only_interacted,
        overwrite=overwrite,
        since_watermark=since_watermark,
    )
    progress.result(run_import(request))


def fetch(
    name: Annotated[
        Literal["lastfm-2k", "movielens-100k", "amazon-beauty"], typer.Argument(help="Which public dataset.")
    ],
    data: Data,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept its terms, which are shown, without being asked.")
    ] = False,
    url: Annotated[
        str | None, typer.Option("--url", help="Address of a folder with its files, in place of its source.")
    ] = None,
    by_hand: Annotated[
        Path | None, typer.Option("--from", help="The file, or a folder with the files, downloaded by hand.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the dataset that is there.")] = False,
) -> None:
    """Download a public dataset from its source and build its folder. Prints what was read and kept as JSON."""
    from offline.importing.fetch import fetch as fetch_dataset
    from offline.importing.public_datasets import PUBLIC_DATASETS

    progress.result(
        fetch_dataset(
            PUBLIC_DATASETS[name], data, accepted=accept_licence, url=url, by_hand=by_hand, overwrite=overwrite
        )
    )


def _core(text: str) -> tuple[int, int]:
    parts = text.split(",")
    if len(parts) > 2 or not all(part.strip().isdecimal() and int(part) >= 1 for part in parts):
        raise BadInputError(f"--k-core {text!r}: give a whole number from 1, or two of them: users,items")
    return int(parts[0]), int(parts[-1])


def delimiter_of(given: str | None) -> str | None:
    """The sign that --delimiter names.

    Raises:
        BadInputError: it is empty.
    """
    if given == "":
        raise BadInputError("--delimiter is empty; give the sign between the columns, such as ';' or '\\t'")
    return "\t" if given == "\\t" else given


def _share(share: float, option: str) -> float:
    if not 0 < share < 1:
        raise BadInputError(f"{option} {share}: give a share above 0 and below 1, such as 0.1")
    return share
