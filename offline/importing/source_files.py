"""The files of a source: one file, a folder of parts, a pattern, or any of these behind a URL that fsspec knows."""

import errno
import gzip
import shutil
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from offline.errors import BadInputError

COPY_BYTES = 1 << 20
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One file of a source."""

    name: str
    """As messages give it: a path, or a URL without password and query."""
    location: str
    """Where it is: a path, or the path inside `store`."""
    partitions: tuple[tuple[str, str | None], ...] = ()
    """Columns that stand in the folders' names, such as `day=2026-11-28`; values as text."""
    store: Any = field(default=None, repr=False, compare=False)
    """The fsspec file system; None for a local file."""

    @property
    def suffix(self) -> str:
        """The kind of file by its name, in lower case and without `.gz`: ".csv", or "" where it has none."""
        return PurePosixPath(self.location.lower().removesuffix(".gz")).suffix

    @property
    def is_gzip(self) -> bool:
        """Whether it is compressed, by its name."""
        return self.location.lower().endswith(".gz")

    @property
    def base_name(self) -> str:
        """The last part of its path."""
        return PurePosixPath(self.location).name

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Its bytes, decompressed.

        Raises:
            BadInputError: it cannot be read, or is broken gzip.
        """
        try:
            with self._open() as raw:
                if not self.is_gzip:
                    yield raw
                    return
                with gzip.GzipFile(fileobj=raw, mode="rb") as inflated:
                    yield inflated  # type: ignore[misc]  # a reader of bytes as any other
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise BadInputError(f"{self.name}: is no whole gzip file ({error}); fetch or write it again") from error
        except OSError as error:
            if says_no_room(error):  # of a copy that is written meanwhile
                raise
            raise _unreadable(self.name, error) from error

    @contextmanager
    def local(self, scratch: Path) -> Iterator[Path]:
        """A local, uncompressed copy, or the file itself where it is that; a copy is removed afterwards.

        Raises:
            BadInputError: as `open`.
        """
        if self.store is None and not self.is_gzip:
            yield Path(self.location)
            return
        scratch.mkdir(parents=True, exist_ok=True)
        copy = scratch / f"copy{self.suffix}"
        try:
            with copy.open("wb") as target, self.open() as source:
                shutil.copyfileobj(source, target, COPY_BYTES)
            yield copy
        finally:
            copy.unlink(missing_ok=True)

    def _open(self) -> Any:
        if self.store is None:
            return Path(self.location).open("rb")
        try:
            return self.store.open(self.location, "rb")
        except OSError:
            raise
        except Exception as error:  # of the store's own package
            raise _unreadable(self.name, error) from error


def find_files(source: str, suffixes: Sequence[str]) -> list[SourceFile]:
    """All files of a source, by name. In a folder, files of other kinds and names that begin with `.` or `_` are not.

    Args:
        source: path or URL of a file, a folder or a pattern such as `log/2026-*/part-*.parquet`.
        suffixes: the kinds of file that count in a folder, such as ".csv"; `.gz` may follow.

    Raises:
        BadInputError: there is nothing, or it cannot be reached.
    """
    files = _remote_files(source, suffixes) if "://" in source else _local_files(source, suffixes)
    if not files:
        raise BadInputError(
            f"{shown(source)}: holds no file of the kinds {', '.join(suffixes)} (.gz may follow); correct the path, "
            "or name the files by a pattern"
        )
    return sorted(files, key=lambda file: file.location)


def says_no_room(error: Exception) -> bool:
    """Whether an error is that of a full disk or quota; polars gives it in its own kinds, by the text alone."""
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return True
    return any(f"(os error {number})" in str(error) for number in _NO_ROOM)


def shown(source: str) -> str:
    """A path as it is, a URL without what may be a secret: user, password and query."""
    if "://" not in source:
        return source
    scheme, _, rest = source.partition("://")
    host, slash, path = rest.partition("/")
    # In other schemes `?` is a sign of a pattern.
    path = path.partition("?")[0] if scheme in ("http", "https") else path
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def _local_files(source: str, suffixes: Sequence[str]) -> list[SourceFile]:
    path = Path(source).expanduser()
    if path.is_file():
        return [SourceFile(name=source, location=str(path))]
    if path.is_dir():
        found, root = [entry for entry in path.rglob("*") if entry.is_file()], path
    elif any(sign in source for sign in "*?["):
        root = Path(path.anchor)
        found = [entry for entry in root.glob(str(path.relative_to(root))) if entry.is_file()]
        return [_in_folder(str(entry), str(entry), str(entry)) for entry in found]
    else:
        raise BadInputError(f"{source}: no such file or folder; correct the path")
    inside = [(entry, entry.relative_to(root).as_posix()) for entry in found]
    return [_in_folder(str(entry), str(entry), name) for entry, name in inside if _counts(name, suffixes)]


def _remote_files(source: str, suffixes: Sequence[str]) -> list[SourceFile]:
    try:
        store, path = import_module("fsspec.core").url_to_fs(source)
    except (ImportError, ValueError) as error:  # ValueError: no such protocol
        raise BadInputError(
            f"{shown(source)}: cannot be read ({error}); pip install 'mmgrec[blobs]' and the package that fsspec names "
            "for this kind of URL, such as s3fs or gcsfs"
        ) from error
    try:
        if any(sign in path for sign in "*?["):
            found = [str(entry) for entry in store.glob(path) if store.isfile(entry)]
            names = found
        elif store.isfile(path):
            return [SourceFile(name=shown(source), location=path, store=store)]
        else:
            found = [str(entry) for entry in store.find(path)]
            names = [entry.removeprefix(path.rstrip("/") + "/") for entry in found]
            kept = [number for number, name in enumerate(names) if _counts(name, suffixes)]
            if not found:
                raise FileNotFoundError(path)
            found, names = [found[number] for number in kept], [names[number] for number in kept]
    except Exception as error:
        raise _unreadable(shown(source), error) from error
    scheme = urlsplit(source).scheme
    return [
        _in_folder(f"{scheme}://{location.lstrip('/')}", location, name, store)
        for location, name in zip(found, names, strict=True)
    ]


def _in_folder(name: str, location: str, inside: str, store: Any = None) -> SourceFile:
    folders = PurePosixPath(inside).parent.parts
    pairs = [part.split("=", 1) for part in folders if "=" in part]
    values = tuple((key, None if value == _NO_PARTITION else unquote(value)) for key, value in pairs)
    return SourceFile(name=name, location=location, partitions=values, store=store)


def _counts(name: str, suffixes: Sequence[str]) -> bool:
    parts = PurePosixPath(name.lower()).parts
    hidden = any(part[0] in "._" and "=" not in part for part in parts)
    return not hidden and any(fnmatch(parts[-1].removesuffix(".gz"), f"*{suffix}") for suffix in suffixes)


def _unreadable(name: str, error: Exception) -> BadInputError:
    """Without the text of an error that is not the system's: it may hold a signed URL."""
    if isinstance(error, FileNotFoundError):
        return BadInputError(f"{name}: nothing is there; correct the path or the URL")
    said = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return BadInputError(f"{name}: cannot be read ({said}); check the path, the network and the credentials")
