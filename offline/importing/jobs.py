"""The jobs `import` and `fetch`. `offline.cli` puts them on the map."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from offline import progress
from offline.errors import BadInputError
from offline.importing.options import (
    CategoryDelimiter,
    Delimiter,
    DropBadRows,
    ItemsMap,
    ItemsSource,
    LeastOfCore,
    LogMap,
    LogSource,
    MinRating,
    OnlyInteracted,
    Overwrite,
    SinceWatermark,
    SourceFormat,
    SplitName,
    TestShare,
    TimeFormat,
    TimeUnitName,
    UnknownItemsChoice,
    ValidShare,
)
from offline.options import Data


def import_dataset(
    source: LogSource,
    data: Data,
    items: ItemsSource = None,
    mapping: LogMap = None,
    items_mapping: ItemsMap = None,
    source_format: SourceFormat = "auto",
    delimiter: Delimiter = None,
    category_delimiter: CategoryDelimiter = None,
    time_unit: TimeUnitName = "auto",
    time_format: TimeFormat = None,
    min_rating: MinRating = None,
    k_core: LeastOfCore = None,
    split: SplitName = "none",
    valid_share: ValidShare = 0.1,
    test_share: TestShare = 0.1,
    unknown_items: UnknownItemsChoice = None,
    only_interacted: OnlyInteracted = False,
    drop_bad_rows: DropBadRows = False,
    since_watermark: SinceWatermark = False,
    overwrite: Overwrite = False,
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
            delimiter=_delimiter(delimiter),
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


def _delimiter(given: str | None) -> str | None:
    if given == "":
        raise BadInputError("--delimiter is empty; give the sign between the columns, such as ';' or '\\t'")
    return "\t" if given == "\\t" else given


def _share(share: float, option: str) -> float:
    if not 0 < share < 1:
        raise BadInputError(f"{option} {share}: give a share above 0 and below 1, such as 0.1")
    return share
