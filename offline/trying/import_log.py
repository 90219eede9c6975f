"""From the log that was named to a dataset folder: imported anew each time, or taken as it is."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from offline import progress
from offline.dataset_checks import INTERACTIONS_FILE
from offline.errors import BadInputError
from offline.importing.column_map import ITEM_FIELDS, LOG_FIELDS, parse_map
from offline.importing.dataset_folder import holds_files
from offline.importing.field_values import TimeUnit
from offline.importing.import_request import ImportRequest
from offline.importing.importer import run_import
from offline.importing.jobs import delimiter_of
from offline.importing.log_steps import LogFilters
from offline.importing.sources import Source


class Imported(NamedTuple):
    """A dataset folder, and field -> column of the log; no columns where nothing was imported."""

    folder: Path
    columns: dict[str, str]


def import_request(
    log: str,
    items: str | None,
    mapping: str | None,
    items_mapping: str | None,
    delimiter: str | None,
    time_unit: TimeUnit | None,
    time_format: str | None,
    *,
    min_rating: float | None,
    drop_bad_rows: bool,
) -> ImportRequest:
    """What the options of the same names ask for; its folder is decided later.

    Raises:
        BadInputError: a map or the delimiter is malformed.
    """
    return ImportRequest(
        source=Source(
            log=log,
            items=items,
            mapping={} if mapping is None else parse_map(mapping, LOG_FIELDS, "--map"),
            items_mapping={} if items_mapping is None else parse_map(items_mapping, ITEM_FIELDS, "--items-map"),
            delimiter=delimiter_of(delimiter),
        ),
        folder=Path(),
        filters=LogFilters(min_rating=min_rating, drop_bad_rows=drop_bad_rows),
        time_unit=time_unit,
        time_format=time_format,
    )


def is_dataset(log: str) -> bool:
    """Whether what was named is a dataset folder already."""
    return Path(log, INTERACTIONS_FILE).is_file()


def place_of(home: Path, log: str) -> Path:
    """Folder below the home for all that a try of this log makes; two logs of one name do not meet."""
    where = log if "://" in log else str(Path(log).expanduser().resolve())
    return home / "try" / hashlib.sha256(where.encode()).hexdigest()[:8]


def import_log(request: ImportRequest, *, keep: Path | None, place: Path, overwrite: bool) -> Imported:
    """Import the log of a request; the same log gives the same files, so that a run of it is found again.

    Args:
        request: its folder does not count.
        keep: dataset folder that the caller named; None for one in `place`, which is replaced without being asked.
        place: see `place_of`.
        overwrite: replace what stands in `keep`.

    Raises:
        BadInputError: anything about the log, the columns or the folder.
    """
    log = request.source.log
    if keep is not None and not overwrite and holds_files(keep):
        raise BadInputError(
            f"--data {keep}: holds files already; name another folder, --overwrite to replace the dataset there, or "
            f"try that one as it is: python -m offline try {keep}"
        )
    folder = keep if keep is not None else place / _name(log)
    found = run_import(replace(request, folder=folder, overwrite=True))
    dropped = "".join(f", {count:,} left out ({reason})" for reason, count in found["dropped"].items())
    progress.say(
        f"{found['kept']:,} interactions of {found['users']:,} users with {found['items']:,} items{dropped}; "
        f"dataset folder {folder}"
    )
    return Imported(folder, {field: column for field, column in found["mapping"].items() if column})


def _name(log: str) -> str:
    """`orders` of `s3://bucket/2026/orders.csv.gz`."""
    last = log.rstrip("/").rpartition("/")[2].partition(".")[0]
    return re.sub(r"[^\w-]+", "-", last).strip("-") or "log"
