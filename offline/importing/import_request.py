"""What an import is asked to do, and what it takes over from the last one into the same folder."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from offline.errors import BadInputError
from offline.importing.dataset_folder import holds_files
from offline.importing.field_values import TimeUnit
from offline.importing.import_record import ImportRecord, read_record
from offline.importing.log_steps import LogFilters
from offline.importing.sources import Source


@dataclass(frozen=True, kw_only=True)
class ImportRequest:
    """What to import, and how."""

    source: Source
    folder: Path
    """The dataset folder."""
    filters: LogFilters = field(default_factory=LogFilters)
    time_unit: TimeUnit | None = None
    time_format: str | None = None
    only_interacted: bool = False
    """Leave out items without interactions; a k-core does so anyway."""
    only_categorised: bool = False
    """Leave out items without categories, as far as there is a table of items."""
    overwrite: bool = False
    since_watermark: bool = False
    recorded_sources: tuple[dict[str, Any], ...] | None = None
    """What import.json says of the sources, where that is not their paths."""


def last_import(request: ImportRequest) -> ImportRecord | None:
    """The record to go on from; None for an import of the whole log.

    Raises:
        BadInputError: there is a dataset and nothing says what shall become of it, or it cannot be gone on from.
    """
    folder = request.folder
    if request.overwrite and request.since_watermark:
        raise BadInputError("--overwrite replaces the dataset and --since-watermark adds to it; take one of them")
    if not holds_files(folder):
        return None
    if not (request.overwrite or request.since_watermark):
        raise BadInputError(
            f"--data {folder}: holds files already; take --since-watermark to add what is new, --overwrite to replace "
            "the dataset, or another folder"
        )
    if request.overwrite:
        return None
    record = read_record(folder)
    if record.watermark is None:
        raise BadInputError(
            f"--since-watermark: {folder} was imported without times, so it is not known what is new; import the whole "
            "log again with --overwrite"
        )
    if record.k_core is not None or record.split != "none" or "split" in record.mapping:
        raise BadInputError(
            f"--since-watermark: {folder} was imported with --k-core or a split, which hold for the log as it was; "
            "import a dataset that grows without them (load_dataset splits it), or the whole log again with --overwrite"
        )
    return record


def as_before(request: ImportRequest, old: ImportRecord) -> ImportRequest:
    """The request with what the record says wherever the caller says nothing else.

    Raises:
        BadInputError: the caller asks for a filter that cannot be applied to a part of the log.
    """
    if request.filters.k_core is not None or request.filters.split != "none":
        raise BadInputError(
            "--k-core and --split hold for a whole log; with --since-watermark leave them out, or import the whole log "
            "with --overwrite"
        )
    source, filters = request.source, request.filters
    fallback = source.format is None or source.format == old.source_format
    mapping = dict(old.mapping) if fallback and not source.mapping else source.mapping
    return replace(
        request,
        source=replace(
            source,
            format=source.format or old.source_format,
            mapping=mapping,
            items_mapping=source.items_mapping or old.items_mapping,
            delimiter=source.delimiter or old.delimiter,
            category_delimiter=source.category_delimiter or old.category_delimiter,
        ),
        filters=replace(
            filters,
            min_rating=old.min_rating if filters.min_rating is None else filters.min_rating,
            drop_bad_rows=filters.drop_bad_rows or old.drop_bad_rows,
            unknown_items=filters.unknown_items or old.unknown_items,
        ),
        time_unit=request.time_unit or old.time_unit,
        time_format=request.time_format or old.time_format,
    )
