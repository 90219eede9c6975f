"""A dataset folder is replaced whole or not at all: built beside its place, checked, and then moved there."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import polars as pl

from offline.dataset_checks import INTERACTIONS_FILE, ITEMS_FILE
from offline.errors import BadInputError, JobError, LockedError
from offline.importing.import_record import RECORD_FILE
from offline.importing.source_files import says_no_room

OWNED: Final = (INTERACTIONS_FILE, ITEMS_FILE, "features", RECORD_FILE)
"""What an import writes. All else in the folder, such as archived events, stays."""


class FolderBuild:
    """A dataset folder that is being built.

    Args:
        target: where it will be.
        root: hidden folder beside it, on the same disk.
    """

    def __init__(self, target: Path, root: Path) -> None:
        self.target = target
        self.new = root / target.name
        self.scratch = root / "scratch"
        self._replaced = root / "replaced" / target.name

    def prepare(self) -> None:
        """Mend what a killed import has left, and begin anew."""
        if self._replaced.exists():  # it was killed while it moved folders
            if self.target.exists():
                self._bring_the_rest()
            else:
                self._replaced.rename(self.target)
        shutil.rmtree(self.new.parent, ignore_errors=True)
        self.new.mkdir(parents=True)
        self.scratch.mkdir()

    def publish(self) -> None:
        """Put the new folder in its place."""
        self._replaced.parent.mkdir()
        if self.target.exists():
            self.target.rename(self._replaced)
        self.new.rename(self.target)
        if self._replaced.exists():
            self._bring_the_rest()

    def _bring_the_rest(self) -> None:
        for entry in self._replaced.iterdir():
            if entry.name not in OWNED:
                entry.rename(self.target / entry.name)


@contextmanager
def folder_build(folder: Path) -> Iterator[FolderBuild]:
    """Build a dataset folder; what stands there meanwhile is untouched until `publish`.

    Raises:
        BadInputError: the place cannot be written to.
        LockedError: another import into this folder runs.
        JobError: the disk is full.
    """
    target = folder.expanduser().resolve()
    if target.exists() and not target.is_dir():
        raise BadInputError(f"--data {folder}: is a file; name a folder")
    root = target.with_name(f".{target.name}.import")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = _lock(root.with_name(f"{root.name}.lock"), folder)
    except OSError as error:
        raise BadInputError(
            f"--data {folder}: cannot be written ({error}); name a folder on a disk that can"
        ) from error
    build = FolderBuild(target, root)
    try:
        build.prepare()
        yield build
    except (OSError, pl.exceptions.PolarsError) as error:
        if says_no_room(error):
            raise JobError(f"{root}: no room is left on the disk; nothing was changed in {folder}") from error
        if isinstance(error, OSError):
            raise JobError(f"{folder} cannot be built ({error}); nothing was changed in it") from error
        raise
    finally:
        shutil.rmtree(root, ignore_errors=True)
        Path(lock.name).unlink(missing_ok=True)
        lock.close()


def _lock(path: Path, folder: Path) -> IO[str]:
    while True:
        file = path.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise LockedError(f"another import into {folder} runs; wait for it") from None
        try:
            if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                return file
        except FileNotFoundError:
            pass
        file.close()  # its holder removed it between our opening and locking it
