"""The job `fetch`: a public dataset from its source, or from files that were downloaded by hand."""

import shutil
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from offline import progress
from offline.errors import BadInputError, JobError
from offline.file_digest import sha256_of_file
from offline.importing.archives import unpack
from offline.importing.dataset_folder import holds_files
from offline.importing.downloads import WebFile, download
from offline.importing.import_request import ImportRequest
from offline.importing.importer import run_import
from offline.importing.public_datasets import PublicDataset
from offline.importing.sources import Source


def fetch(
    dataset: PublicDataset, folder: Path, *, accepted: bool, url: str | None, by_hand: Path | None, overwrite: bool
) -> dict[str, Any]:
    """Download a dataset and build its folder; the same files give the same bytes.

    Args:
        dataset: which.
        folder: the dataset folder.
        accepted: whether its terms are; else they are asked for on a terminal.
        url: address of the folder (or of the one file) to download from, in place of the source.
        by_hand: the file, or a folder of the files, that was downloaded already.
        overwrite: replace a dataset that is there.

    Raises:
        BadInputError: the terms are not accepted, a file is not what it should be, or the folder holds files already.
        JobError: the source cannot be reached.
    """
    require_accepted(dataset, accepted=accepted)
    if folder.exists() and not overwrite and (not folder.is_dir() or holds_files(folder)):
        raise BadInputError(f"--data {folder}: holds files already; take --overwrite to replace it, or another folder")
    target = folder.expanduser().resolve()
    downloads = target.with_name(f".{target.name}.fetch")
    unpacked = downloads / "unpacked"
    try:
        downloads.mkdir(parents=True, exist_ok=True)
        files = _given(dataset, by_hand) if by_hand is not None else _downloaded(dataset, url, downloads)
        shutil.rmtree(unpacked, ignore_errors=True)
        unpacked.mkdir()
        _lay_out(dataset, files, unpacked)
        result = run_import(_request(dataset, folder, unpacked, files, overwrite=overwrite))
    except OSError as error:
        raise JobError(f"{downloads}: cannot be written ({error}); see that the disk has room") from error
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
        with suppress(OSError):  # what was downloaded stays for the next attempt
            downloads.rmdir()
    shutil.rmtree(downloads, ignore_errors=True)
    return result


def require_accepted(dataset: PublicDataset, *, accepted: bool) -> None:
    """Show the terms, and ask for them where that is possible.

    Raises:
        BadInputError: they are not accepted.
    """
    progress.say(f"{dataset.terms}\nMore: {dataset.home}")
    if accepted or (sys.stdin.isatty() and typer.confirm("Do you accept these terms?", err=True)):
        return
    raise BadInputError(f"the terms of {dataset.name} are not accepted; read them above and take --accept-licence")


def _request(
    dataset: PublicDataset, folder: Path, unpacked: Path, files: dict[str, Path], *, overwrite: bool
) -> ImportRequest:
    sources = tuple(
        {"source": file.url, "sha256": sha256_of_file(files[file.name])} for file in dataset.files
    )  # by which it can be known later what was fetched
    return ImportRequest(
        source=Source(log=str(unpacked), format=dataset.format),
        folder=folder,
        filters=dataset.filters,
        only_categorised=dataset.only_tagged,
        overwrite=overwrite,
        recorded_sources=sources,
    )


def _downloaded(dataset: PublicDataset, url: str | None, downloads: Path) -> dict[str, Path]:
    return {file.name: download(_elsewhere(file, url), downloads) for file in dataset.files}


def _elsewhere(file: WebFile, url: str | None) -> WebFile:
    """The file at another address; another address may well have another file, so its sha256 is not asked for."""
    if url is None:
        return file
    return replace(file, url=url if url.endswith(f"/{file.name}") else f"{url.rstrip('/')}/{file.name}", sha256=None)


def _given(dataset: PublicDataset, by_hand: Path) -> dict[str, Path]:
    names = [file.name for file in dataset.files]
    if by_hand.is_file() and len(names) == 1:
        return {names[0]: by_hand}
    found = {name: by_hand / name for name in names}
    missing = [name for name, path in found.items() if not path.is_file()]
    if missing:
        urls = " and ".join(file.url for file in dataset.files if file.name in missing)
        raise BadInputError(f"--from {by_hand}: holds no {' and no '.join(missing)}; download it from {urls}")
    return found


def _lay_out(dataset: PublicDataset, files: dict[str, Path], folder: Path) -> None:
    if dataset.unpacked:
        unpack(next(iter(files.values())), dataset.unpacked, folder)
        return
    for name, path in files.items():
        (folder / name).symlink_to(path.resolve())
