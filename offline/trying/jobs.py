"""The job `try`. `offline.cli` puts it on the map."""

from offline.errors import BadInputError
from offline.importing.options import Delimiter, DropBadRows, ItemsMap, ItemsTable, Map, MinRating, TimeFormat, TimeUnit
from offline.options import Home, RedisUrl, Seed
from offline.output_files import require_writable
from offline.trying.options import Check, JsonFile, Keep, Log, NoServe, Overwrite, Port, Quick, TryRecipe
from service.contract.redis_server import DEFAULT_HOME


def try_csv(
    log: Log,
    items: ItemsTable = None,
    mapping: Map = None,
    items_mapping: ItemsMap = None,
    delimiter: Delimiter = None,
    time_unit: TimeUnit = "auto",
    time_format: TimeFormat = None,
    min_rating: MinRating = None,
    drop_bad_rows: DropBadRows = False,
    data: Keep = None,
    overwrite: Overwrite = False,
    quick: Quick = False,
    recipe: TryRecipe = "standard",
    json_file: JsonFile = None,
    no_serve: NoServe = False,
    check: Check = False,
    port: Port = 8000,
    home: Home = DEFAULT_HOME,
    redis_url: RedisUrl = None,
    seed: Seed = 0,
) -> None:
    """Is MMGRec worth it for you? Takes your log, prints simple peers beside MMGRec and a verdict, and serves it."""
    from offline.trying.import_log import import_request, is_dataset
    from offline.trying.try_log import TryOptions, try_log

    if check and no_serve:
        raise BadInputError("--check looks at the first answer of the service, --no-serve has none; take one of them")
    if json_file is not None:
        require_writable(json_file, "--json", "a JSON file")
    given: dict[str, object] = {
        "--items": items,
        "--map": mapping,
        "--items-map": items_mapping,
        "--delimiter": delimiter,
    }
    given |= {"--time-format": time_format, "--min-rating": min_rating, "--data": data}
    if is_dataset(log) and (more := [name for name, value in given.items() if value is not None]):
        raise BadInputError(f"{log} is a dataset folder already and is taken as it is; leave out {', '.join(more)}")
    request = import_request(
        *(log, items, mapping, items_mapping, delimiter, None if time_unit == "auto" else time_unit, time_format),
        min_rating=min_rating,
        drop_bad_rows=drop_bad_rows,
    )
    options = TryOptions(
        keep=data,
        overwrite=overwrite,
        quick=quick,
        recipe=recipe,
        seed=seed,
        json_file=json_file,
        serve=not no_serve,
        check=check,
        port=port,
        home=home,
        redis_url=redis_url,
    )
    try_log(request, options)
