"""Files behind URLs, kept by the sha256 of the URL: what is there is not fetched again, a killed job goes on."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from offline import progress
from offline.encoding.encoder import UnreadableContentError
from offline.encoding.public_http import DownloadLimits, UnavailableError, download
from offline.errors import BadInputError, JobError
from offline.whole_files import whole_file

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
    if missing:
        with progress.task("downloads", len(missing)) as task:
            for url, reason in _fetch_all(missing, wanted, limits, TYPES[modality], check, parallel):
                if reason is not None:
                    failed[url] = reason
                task.advance(f"{len(failed)} failed")
    return Downloaded(
        {row: wanted[url] for row, url in urls.items() if url not in failed},
        {row: failed[url] for row, url in urls.items() if url in failed},
    )


def _fetch_all(
    urls: Sequence[str],
    wanted: Mapping[str, Path],
    limits: DownloadLimits,
    types: tuple[str, ...],
    check: Callable[[Path], object],
    parallel: int,
) -> Iterator[tuple[str, str | None]]:
    """Every URL with why it cannot be had (None if it can), as they end; few are handed to the threads ahead."""
    coming, running = iter(urls), dict[Future[str | None], str]()
    with ThreadPoolExecutor(parallel) as pool:
        try:
            while True:
                for url in islice(coming, 4 * parallel - len(running)):
                    running[pool.submit(_fetch, url, wanted[url], limits, types, check)] = url
                if not running:
                    return
                for ended in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(ended), ended.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _fetch(
    url: str, file: Path, limits: DownloadLimits, types: tuple[str, ...], check: Callable[[Path], object]
) -> str | None:
    """Fetch one URL into its file, whole or not at all; returns why not, None if it went well."""
    try:
        with whole_file(file) as temporary:
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
    except UnreadableContentError as error:
        return f"{_without_secrets(url)}: {error}"
    except OSError as error:
        raise JobError(f"{file} cannot be written ({error}); make room, or give another --downloads folder") from error
    return None


def _without_secrets(url: str) -> str:
    """Scheme, host and path: a query may be a signature, a user may have a password."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.hostname}{parts.path}"[:200]
    except ValueError:
        return "a URL"
