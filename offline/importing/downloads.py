"""Files from the web: resumed where they were cut, bounded in size, and known by their sha256."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Final, cast

from offline import progress
from offline.errors import BadInputError, JobError
from offline.file_digest import sha256_of_file

TIMEOUT_SECONDS: Final = 30.0
_PIECE_BYTES: Final = 1 << 18
_AGENT: Final = "mmgrec-fetch"


@dataclass(frozen=True, kw_only=True)
class WebFile:
    """One file to download."""

    name: str
    """Under which it is kept."""
    url: str
    most_bytes: int
    """A larger answer is refused."""
    sha256: str | None = None
    """What it must have; None where nobody has published it."""


def download(file: WebFile, folder: Path) -> Path:
    """Download a file, or go on where an earlier attempt ended; one that is there already is only checked.

    A part is kept under another name with the validator (ETag or date) of what it is a part of, so that it is never
    continued with another file's bytes.

    Returns:
        Its path, `folder / name`.

    Raises:
        BadInputError: the address is none, nothing is there, or it is larger or another file than it should be.
        JobError: the network or the server does not answer, or ends too early.
    """
    if not file.url.startswith(("http://", "https://")):
        raise BadInputError(f"{file.url}: is no http or https address; correct --url")
    target = folder / file.name
    if not target.is_file():
        part = folder / f"{file.name}.part"
        _receive(file, part)
        _check_sha256(part, file)
        part.replace(target)
        _validator(part).unlink(missing_ok=True)
    _check_sha256(target, file)
    return target


def _receive(file: WebFile, part: Path) -> None:
    have = part.stat().st_size if part.is_file() else 0
    headers = {"User-Agent": _AGENT}
    if have and (validator := _read_validator(part)):
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    with _answer(file, urllib.request.Request(file.url, headers=headers)) as answer:  # http(s) only
        have = have if answer.status == 206 else 0  # else it is the whole file
        length = int(answer.headers.get("Content-Length") or 0)
        if have + length > file.most_bytes:
            raise _too_large(file)
        _write_validator(part, answer.headers.get("ETag") or answer.headers.get("Last-Modified") or "")
        got = _write(file, answer, part, have, have + length)
        if length and got < have + length:
            raise JobError(
                f"{file.url}: ended after {got} of {have + length} bytes; start the job again, it goes on from there"
            )


def _write(file: WebFile, answer: HTTPResponse, part: Path, have: int, total: int) -> int:
    with part.open("ab" if have else "wb") as target, progress.task(file.name, max(total, 1)) as task:
        task.advance(steps=have)
        while piece := answer.read(_PIECE_BYTES):
            have += len(piece)
            if have > file.most_bytes:
                raise _too_large(file)
            target.write(piece)
            task.advance(steps=len(piece))
    return have


@contextmanager
def _answer(file: WebFile, request: urllib.request.Request) -> Iterator[HTTPResponse]:
    cure = f"see that the network is there, or download it by hand from {file.url} and give --from FILE"
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # http(s) only
            yield cast("HTTPResponse", answer)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (404, 410):
            raise BadInputError(
                f"{file.url}: nothing is there (HTTP {error.code}); correct --url, or {cure}"
            ) from error
        raise JobError(f"{file.url}: cannot be downloaded (HTTP {error.code}); {cure}") from error
    except urllib.error.URLError as error:
        raise JobError(f"{file.url}: cannot be downloaded ({error.reason}); {cure}") from error
    except (HTTPException, TimeoutError, ConnectionError) as error:
        raise JobError(
            f"{file.url}: the download broke off ({type(error).__name__}); start the job again, it goes on from there"
        ) from error


def _check_sha256(path: Path, file: WebFile) -> None:
    if file.sha256 is None:
        return
    found = sha256_of_file(path)
    if found != file.sha256:
        path.unlink()
        raise BadInputError(
            f"{file.url}: has sha256 {found}, it should have {file.sha256}: the file is damaged or another one; it was "
            "removed, fetch it again or from its source"
        )


def _too_large(file: WebFile) -> BadInputError:
    return BadInputError(
        f"{file.url}: is larger than the {file.most_bytes} bytes that {file.name} may have; correct --url"
    )


def _validator(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_validator(part: Path) -> str:
    try:
        found = json.loads(_validator(part).read_text(encoding="utf-8"))["validator"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return found if isinstance(found, str) and not found.startswith("W/") else ""


def _write_validator(part: Path, validator: str) -> None:
    _validator(part).write_text(json.dumps({"validator": validator}), encoding="utf-8")
