"""Files behind URLs, kept by the sha256 of the URL: what is there is not fetched again, a killed job goes on."""

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from offline import progress
from offline.encoding.encoder import UnreadableContentError
from offline.encoding.public_http import DownloadLimits, UnavailableError, download
from offline.errors import BadInputError, JobError

TYPES = {
    "image": ("image/", "application/octet-stream", "binary/octet-stream"),
    "audio": ("audio/", "application/ogg", "application/octet-stream", "binary/octet-stream"),
}
ATTEMPTS = 2
_PAUSE_SECONDS = 0.5


class Downloaded(NamedTuple):
    """What came of the URLs, by row."""

    files: dict[int, Path]
    failed: dict[int, str]  # row -> why


def cached_file(folder: Path, url: str) -> Path:
    """Where the answer of a URL is kept."""
    digest = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
    return folder / digest[:2] / digest


def download_all(
    urls: Mapping[int, str],
    folder: Path,
    limits: DownloadLimits,
    *,
    modality: str,
    parallel: int,
    check: Callable[[Path], object],
) -> Downloaded:
    """Fetches every URL that is not there yet.

    Args:
        urls: row to URL; equal ones are fetched once.
        folder: of the cache, made if need be.
        limits: of every download.
        modality: which content types will do.
        parallel: downloads at a time.
        check: reads a fetched file, and raises `UnreadableContentError` for one that must not be kept.

    Raises:
        BadInputError: the folder cannot be written to.
        JobError: the disk is full.
    """
    wanted = {url: cached_file(folder, url) for url in urls.values()}
    missing = [url for url, file in wanted.items() if not file.is_file()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(f"--downloads {folder} cannot be written ({error}); give another folder") from error
    failed: dict[str, str] = {}
    with ThreadPoolExecutor(parallel) as pool, progress.task("downloads", max(len(missing), 1)) as task:
        running = {pool.submit(_fetch, url, wanted[url], limits, TYPES[modality], check): url for url in missing}
        try:
            for done in as_completed(running):
                if (reason := done.result()) is not None:
                    failed[running[done]] = reason
                task.advance(f"{len(failed)} failed")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return Downloaded(
        {row: wanted[url] for row, url in urls.items() if url not in failed},
        {row: failed[url] for row, url in urls.items() if url in failed},
    )


def _fetch(
    url: str, file: Path, limits: DownloadLimits, types: tuple[str, ...], check: Callable[[Path], object]
) -> str | None:
    """Fetch one URL into its file, whole or not at all; returns why not, None if it went well."""
    file.parent.mkdir(exist_ok=True)
    temporary = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with temporary.open("wb") as target:
                    download(url, target, limits, types=types)
                break
            except UnavailableError:
                if attempt == ATTEMPTS:
                    raise
                time.sleep(_PAUSE_SECONDS)
        check(temporary)
        temporary.replace(file)
    except UnreadableContentError as error:
        return f"{_without_secrets(url)}: {error}"
    except OSError as error:
        raise JobError(f"{file} cannot be written ({error}); make room, or give another --downloads folder") from error
    finally:
        temporary.unlink(missing_ok=True)
    return None


def _without_secrets(url: str) -> str:
    """Scheme, host and path: a query may be a signature, a user may have a password."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.hostname}{parts.path}"[:200]
    except ValueError:
        return "a URL"
