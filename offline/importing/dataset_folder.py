"""A dataset folder is replaced whole or not at all: built in a hidden folder inside of it, checked, and moved up.

Only what an import owns is moved. Everything else in the folder, such as archived events, is never touched, and the
folder itself stays, so that it may be a mount point. Where a killed import stopped is told by the name of the folder
that holds the old files: `leaving` while they are moved away, `replaced` while the new ones are moved up, `done` once
these are in place.
"""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import polars as pl

from offline import progress
from offline.dataset_checks import IMPORT_FOLDER, INTERACTIONS_FILE, ITEMS_FILE
from offline.errors import BadInputError, JobError
from offline.folder_lock import locked_folder
from offline.importing.import_record import RECORD_FILE
from offline.importing.source_files import says_no_room
from offline.retraining.event_archive import FOLDER as EVENTS_FOLDER

OWNED: Final = (INTERACTIONS_FILE, ITEMS_FILE, "features", RECORD_FILE)
"""What an import writes, in the order in which it leaves; the new ones come in the opposite order. So while anything is
moved there are no interactions, and nobody takes the folder for a dataset."""

ARCHIVE_SECONDS: Final = 60.0
"""How long to wait for a job that holds the event archive, such as one that takes a snapshot of this dataset."""


class FolderBuild:
    """A dataset folder that is being built.

    Args:
        target: where it will be; exists.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self._root = target / IMPORT_FOLDER
        self.new = self._root / "new" / target.name
        self.scratch = self._root / "scratch"
        self._leaving, self._replaced, self._done = (self._root / name for name in ("leaving", "replaced", "done"))

    def prepare(self) -> None:
        """Mend what a killed import has left, and begin anew."""
        self._put_back()
        if self._root.exists():
            shutil.rmtree(self._root)
        self.new.mkdir(parents=True)
        self.scratch.mkdir()

    def publish(self) -> None:
        """Put the new files in place of the old ones.

        Raises:
            OSError: that failed, and everything is as it was before.
            JobError: that failed, and the old files could not be put back; they are kept.
            LockedError: another job needs this dataset as it is.
        """
        with _archive_held(self.target):
            try:
                self._leaving.mkdir()
                _move(OWNED, self.target, self._leaving)
                self._leaving.rename(self._replaced)
                _move(reversed(OWNED), self.new, self.target)
                self._replaced.rename(self._done)
            except BaseException as error:
                self._put_back_or_say(error)
                raise

    def close(self) -> None:
        """Remove what the import needed, unless old files are in it."""
        if not self._leaving.exists() and not self._replaced.exists():
            shutil.rmtree(self._root, ignore_errors=True)

    def _put_back(self) -> None:
        """Undo a `publish` that did not come to its end; after any kill, as often as needed."""
        if self._replaced.exists():
            self.new.mkdir(parents=True, exist_ok=True)
            _move(OWNED, self.target, self.new)  # the old ones are away, so these are new
            self._replaced.rename(self._leaving)
        if self._leaving.exists():
            _move(reversed(OWNED), self._leaving, self.target)
            self._leaving.rmdir()

    def _put_back_or_say(self, error: BaseException) -> None:
        try:
            self._put_back()
        except OSError as second:
            held = self._replaced if self._replaced.exists() else self._leaving
            raise JobError(
                f"the new files could not be put into {self.target} ({error}), nor the old ones put back ({second}); "
                f"nothing is lost: the old ones are in {held} and beside it the new ones in {self.new}. Mend the disk; "
                "the next import into this folder puts the old ones back"
            ) from error


def holds_files(folder: Path) -> bool:
    """Whether anything but an import's own leftovers is in a folder, which may be absent."""
    return folder.is_dir() and any(entry.name != IMPORT_FOLDER for entry in folder.iterdir())


@contextmanager
def folder_build(folder: Path) -> Iterator[FolderBuild]:
    """Build a dataset folder; what stands there meanwhile is untouched until `publish`.

    Raises:
        BadInputError: the place cannot be written to.
        LockedError: another import into this folder runs, or a job holds its events.
        JobError: the disk is full, or a file cannot be moved.
    """
    target = folder.expanduser().resolve()
    if target.exists() and not target.is_dir():
        raise BadInputError(f"--data {folder}: is a file; name a folder")
    with ExitStack() as held:
        try:
            if not target.exists():
                target.mkdir(parents=True)
                held.callback(_remove_if_empty, target)
            held.enter_context(locked_folder(target, f"another import into {folder} runs; wait for it"))
            (target / IMPORT_FOLDER).mkdir(exist_ok=True)
        except OSError as error:
            raise BadInputError(
                f"--data {folder}: cannot be written ({error}); name a folder on a disk that can"
            ) from error
        build = FolderBuild(target)
        held.callback(build.close)
        with _named_errors(folder):
            build.prepare()
            yield build


@contextmanager
def _named_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as error:
        if says_no_room(error):
            raise JobError(f"{folder}: no room is left on the disk; nothing was changed in it") from error
        if isinstance(error, OSError):
            raise JobError(
                f"{folder} cannot be built ({error}); nothing was changed in it. Mend that and import again"
            ) from error
        raise


@contextmanager
def _archive_held(target: Path) -> Iterator[None]:
    """The lock of the event archive, if there is one: `retrain` holds it while it copies the dataset."""
    events = target / EVENTS_FOLDER
    if not events.is_dir():
        yield
        return
    with locked_folder(
        events,
        f"another job works with {events}; import again when it is done",
        wait_seconds=ARCHIVE_SECONDS,
        waiting=lambda: progress.say(f"waiting for another job that works with {events}"),
    ):
        yield


def _move(names: Iterable[str], source: Path, target: Path) -> None:
    for name in names:
        if (source / name).is_symlink() or (source / name).exists():
            (source / name).rename(target / name)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):  # it is a dataset now, or somebody put a file into it
        folder.rmdir()
