"""The job `try`. `offline.cli` puts it on the map."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from offline.errors import BadInputError
from offline.options import Home, RedisUrl, Seed
from offline.output_files import require_writable
from service.contract.redis_server import DEFAULT_HOME


def try_csv(
    log: Annotated[
        str,
        typer.Argument(
            help="The log: a CSV or Parquet file, a folder of parts, a URL, or a dataset folder that is there already."
        ),
    ],
    items: Annotated[
        str | None, typer.Option("--items", help="Table of the items: titles, categories; without it, ids alone.")
    ] = None,
    mapping: Annotated[
        str | None,
        typer.Option(
            "--map",
            metavar="field=column,...",
            help="Columns of user_id, item_id, timestamp, event, weight; without it they are guessed. An empty column "
            "leaves a field out: timestamp=.",
        ),
    ] = None,
    items_mapping: Annotated[
        str | None,
        typer.Option("--items-map", metavar="field=column,...", help="The same for item_id, title, categories."),
    ] = None,
    delimiter: Annotated[
        str | None, typer.Option("--delimiter", help="Between the columns of a CSV; without it, found out.")
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
    drop_bad_rows: Annotated[
        bool, typer.Option("--drop-bad-rows", help="Leave out rows that cannot be used, and count them.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder for the dataset; without it, one below --home.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the dataset in --data.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Leave out SASRec, the slowest of the peers.")] = False,
    recipe: Annotated[
        Literal["tiny", "standard"],
        typer.Option("--recipe", help="tiny: a minute, to see how it goes. standard: what MMGRec can do."),
    ] = "standard",
    json_file: Annotated[Path | None, typer.Option("--json", help="File for table and verdict as JSON.")] = None,
    serve: Annotated[bool, typer.Option("--serve/--no-serve", help="Whether to serve MMGRec at the end.")] = True,
    check: Annotated[bool, typer.Option("--check", help="Stop after the first answer; last line is JSON.")] = False,
    port: Annotated[
        int, typer.Option("--port", min=1, max=65535, help="First port to try; a taken one moves up.")
    ] = 8000,
    home: Home = DEFAULT_HOME,
    redis_url: RedisUrl = None,
    seed: Seed = 0,
) -> None:
    """Is MMGRec worth it for you? Takes your log, prints simple peers beside MMGRec and a verdict, and serves it."""
    from offline.importing.column_map import ITEM_FIELDS, LOG_FIELDS, parse_map
    from offline.importing.import_request import ImportRequest
    from offline.importing.jobs import delimiter_of
    from offline.importing.log_steps import LogFilters
    from offline.importing.sources import Source
    from offline.trying.import_log import is_dataset
    from offline.trying.try_log import TryOptions, try_log

    if check and not serve:
        raise BadInputError("--check looks at the first answer of the service, --no-serve has none; take one of them")
    if json_file is not None:
        require_writable(json_file, "--json", "a JSON file")
    given = {"--items": items, "--map": mapping, "--items-map": items_mapping, "--delimiter": delimiter}
    given |= {"--time-format": time_format, "--min-rating": min_rating, "--data": data}
    if is_dataset(log) and (more := [name for name, value in given.items() if value is not None]):
        raise BadInputError(f"{log} is a dataset folder already and is taken as it is; leave out {', '.join(more)}")
    request = ImportRequest(
        source=Source(
            log=log,
            items=items,
            mapping={} if mapping is None else parse_map(mapping, LOG_FIELDS, "--map"),
            items_mapping={} if items_mapping is None else parse_map(items_mapping, ITEM_FIELDS, "--items-map"),
            delimiter=delimiter_of(delimiter),
        ),
        folder=Path(),  # decided later
        filters=LogFilters(min_rating=min_rating, drop_bad_rows=drop_bad_rows),
        time_unit=None if time_unit == "auto" else time_unit,
        time_format=time_format,
    )
    options = TryOptions(
        keep=data,
        overwrite=overwrite,
        quick=quick,
        recipe=recipe,
        seed=seed,
        json_file=json_file,
        serve=serve,
        check=check,
        port=port,
        home=home,
        redis_url=redis_url,
    )
    try_log(request, options)
