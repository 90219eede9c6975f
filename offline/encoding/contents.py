"""What every item has to be encoded, for all modalities alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from offline.dataset_checks import ITEMS_FILE
from offline.encoding.downloads import download_all
from offline.encoding.encoder import Content, UnreadableContentError
from offline.encoding.item_files import item_sources
from offline.encoding.request import EncodeRequest
from offline.encoding.row_cache import RowCache, row_key
from offline.encoding.texts import item_texts


@dataclass(frozen=True)
class Contents:
    """By row of items.parquet; an item that has nothing stands in neither."""

    found: dict[int, Content] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    """Why an item's content cannot be had."""


def find_contents(request: EncodeRequest, item_ids: Sequence[str], check: Callable[[Path], object]) -> Contents:
    """Texts, or files, of which those behind URLs are downloaded.

    Args:
        request: what to encode.
        item_ids: of items.parquet.
        check: reads a downloaded file; see `download_all`.

    Raises:
        BadInputError: the columns, folders or flags cannot be used, or no item has anything.
        JobError: the disk is full.
    """
    path = request.data / ITEMS_FILE
    if request.modality == "text":
        return Contents(dict(item_texts(path, request.columns)))
    sources = item_sources(path, item_ids, modality=request.modality, columns=request.columns, files=request.files)
    contents = Contents(dict(sources.files))
    if sources.urls:
        downloaded = download_all(
            sources.urls,
            request.downloads_folder,
            request.download_limits,
            modality=request.modality,
            parallel=request.parallel,
            check=check,
        )
        contents.found.update(downloaded.files)
        contents.failed.update(downloaded.failed)
    return contents


def content_keys(contents: Contents, cache: RowCache, fingerprint: str) -> dict[int, bytes]:
    """Row to the key that its vector is kept under; a file that cannot be read becomes a failure."""
    keys = {}
    for row, content in list(contents.found.items()):
        try:
            keys[row] = row_key(fingerprint, _digest(content, cache))
        except UnreadableContentError as error:
            contents.failed[row] = f"{content}: {error}"
            del contents.found[row]
    return keys


def _digest(content: Content, cache: RowCache) -> str:
    if isinstance(content, str):
        return sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
    try:
        if not content.is_file():
            raise UnreadableContentError("no such file")
        return cache.digest_of(content)
    except OSError as error:
        raise UnreadableContentError(f"cannot be read ({error.strerror})") from error
