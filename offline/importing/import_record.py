"""`import.json` of a dataset folder: how it was imported, so that the next import goes on from there."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, get_args

from offline.errors import BadInputError
from offline.importing.field_values import UNIT_TO_MS, TimeUnit
from offline.importing.formats.layout import FormatName
from offline.importing.log_steps import UnknownItems

RECORD_FILE: Final = "import.json"
RECORD_FORMAT: Final = 1


@dataclass(frozen=True, kw_only=True)
class ImportRecord:
    """How a dataset folder came to be. It holds no time of day and no name of a machine: same input, same bytes."""

    source_format: FormatName
    mapping: dict[str, str]
    """Field -> column of the log."""
    items_mapping: dict[str, str]
    """Field -> column of the items."""
    time_unit: TimeUnit | None
    """Of times that are numbers in the source; None for dates, and without time."""
    time_format: str | None
    watermark: int | None
    """The newest timestamp that was read, milliseconds since 1970 UTC; None without time."""
    min_rating: float | None = None
    k_core: list[int] | None = None
    """Fewest interactions of a user and of an item."""
    split: str = "none"
    delimiter: str | None = None
    category_delimiter: str | None = None
    unknown_items: UnknownItems | None = None
    drop_bad_rows: bool = False
    imports: list[dict[str, Any]] = field(default_factory=list)
    """One entry for each import into this folder: sources, rows read, kept and dropped."""

    def to_json(self) -> str:
        """The file's text."""
        return json.dumps({"format": RECORD_FORMAT, **asdict(self)}, indent=2, sort_keys=True) + "\n"


def read_record(folder: Path) -> ImportRecord:
    """The record of a dataset folder.

    Raises:
        BadInputError: there is none, or it is damaged or of another version.
    """
    path = folder / RECORD_FILE
    cure = "import the whole log again with --overwrite"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        version = found.pop("format")
        record = ImportRecord(**found)
    except FileNotFoundError:
        raise BadInputError(
            f"{path}: there is none, so it is not known up to where this dataset goes; {cure}"
        ) from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInputError(f"{path}: cannot be used ({error}); {cure}") from error
    if version != RECORD_FORMAT:
        raise BadInputError(f"{path}: format {version!r}, this version reads {RECORD_FORMAT}; {cure}")
    odd = [name for name, sound in _sound(record).items() if not sound]
    if odd:
        raise BadInputError(f"{path}: cannot be used ({odd[0]} is {getattr(record, odd[0])!r}); {cure}")
    return record


def _sound(record: ImportRecord) -> dict[str, bool]:
    """Whether what the next import takes over is what it can be."""
    return {
        "source_format": record.source_format in get_args(FormatName),
        "mapping": _maps_names(record.mapping),
        "items_mapping": _maps_names(record.items_mapping),
        "time_unit": record.time_unit is None or record.time_unit in UNIT_TO_MS,
        "time_format": isinstance(record.time_format, str | None),
        "watermark": isinstance(record.watermark, int | None),
        "min_rating": isinstance(record.min_rating, int | float | None),
        "delimiter": isinstance(record.delimiter, str | None),
        "category_delimiter": isinstance(record.category_delimiter, str | None),
        "unknown_items": record.unknown_items is None or record.unknown_items in get_args(UnknownItems),
        "imports": isinstance(record.imports, list),
    }


def _maps_names(found: object) -> bool:
    return isinstance(found, dict) and all(isinstance(column, str) for column in found.values())
