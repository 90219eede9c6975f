"""Which format a source has, by the names of its files and their first lines."""

from collections.abc import Callable
from typing import Final, get_args

from offline.errors import BadInputError
from offline.importing.formats.amazon import amazon_layout
from offline.importing.formats.lastfm import lastfm_layout
from offline.importing.formats.layout import FormatName, Layout
from offline.importing.formats.mmrec import mmrec_layout
from offline.importing.formats.movielens import movielens_layout
from offline.importing.formats.recbole import recbole_layout
from offline.importing.source_files import SourceFile, find_files
from offline.importing.tables import KINDS

_SUFFIXES: Final = (*KINDS, ".data", ".npy")

_READERS: Final[dict[FormatName, Callable[[list[SourceFile]], Layout | None]]] = {
    "movielens": movielens_layout,
    "lastfm": lastfm_layout,
    "recbole": recbole_layout,
    "mmrec": mmrec_layout,
    "amazon": amazon_layout,
}
"""The surest first."""

assert {"table", *_READERS} == set(get_args(FormatName))


def known_layout(source: str, source_format: FormatName | None) -> Layout | None:
    """The layout of a source in one of the formats with a name; None for a plain table.

    Args:
        source: path or URL.
        source_format: what the caller says it is; None to find out.

    Raises:
        BadInputError: nothing is there, or it is not what the caller says.
    """
    if source_format == "table":
        return None
    files = find_files(source, _SUFFIXES)
    for name, read in _READERS.items():
        if source_format in (None, name) and (layout := read(files)) is not None:
            return layout
    if source_format is not None:
        raise BadInputError(
            f"{source}: does not look like {source_format} (found {', '.join(file.base_name for file in files[:5])}"
            f"{', ...' if len(files) > 5 else ''}); correct --format or the path"
        )
    return None
