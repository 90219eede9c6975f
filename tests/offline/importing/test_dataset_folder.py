"""A dataset folder is replaced whole or stays as it was: bad input, a full disk, a kill, two at once."""

import itertools
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import Mock

import polars as pl
import pytest

from offline.errors import BadInputError, JobError, LockedError
from offline.folder_lock import locked_folder
from offline.importing.dataset_folder import folder_build
from offline.retraining.event_archive import EventArchive
from tests.offline.importing.sources import ITEMS, LOG, MAP, bytes_of, no_leftovers, text_file

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("place", ["file", "in a file"])
def test_a_folder_that_cannot_be_written(job, tmp_path: Path, place: str) -> None:
    log, blocked = text_file(tmp_path / "log.csv", LOG), text_file(tmp_path / "blocked", "mine")
    ended = job("import", log, "--data", blocked if place == "file" else blocked / "shop", "--map", MAP)
    assert (ended.code, ended.out) == (2, "")
    assert f"--data {blocked}" in ended.err
    assert blocked.read_text() == "mine"


def test_an_existing_dataset_survives_whatever_goes_wrong(job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, log, items = tmp_path / "shop", text_file(tmp_path / "log.csv", LOG), text_file(tmp_path / "i.csv", ITEMS)
    job("import", log, "--data", shop, "--map", MAP, "--items", items).result  # noqa: B018
    before = bytes_of(shop)

    ended = job("import", log, "--data", shop, "--map", MAP)
    assert ended.code == 2
    assert "holds files already; take --since-watermark to add what is new, --overwrite to replace" in ended.err
    bad = text_file(tmp_path / "bad.csv", LOG + "10,A,never,view,1\n")
    for call in ((bad, "--overwrite"), (log, "--overwrite", "--since-watermark"), (bad, "--since-watermark")):
        assert job("import", *call, "--data", shop, "--map", MAP).code == 2

    full_disk = (
        ("offline.importing.importer.check_finished", OSError(28, "No space left on device")),
        ("offline.importing.spool.Spool.sink", pl.exceptions.ComputeError("No space left on device (os error 28)")),
    )
    for step, error in full_disk:
        with monkeypatch.context() as patch:
            patch.setattr(step, Mock(side_effect=error))
            ended = job("import", log, "--data", shop, "--map", MAP, "--overwrite")
        assert (ended.code, ended.out) == (1, "")
        assert "no room is left on the disk; nothing was changed" in ended.err
    assert bytes_of(shop) == before
    assert no_leftovers(shop)


def test_two_imports_into_one_folder_exclude_each_other(job, tmp_path: Path) -> None:
    log = text_file(tmp_path / "log.csv", LOG)
    with folder_build(tmp_path / "shop"):
        ended = job("import", log, "--data", tmp_path / "shop", "--map", MAP)
        assert (ended.code, ended.out) == (4, "")
        assert f"another import into {tmp_path / 'shop'} runs" in ended.err
        assert job("import", log, "--data", tmp_path / "other", "--map", MAP).code == 0
    assert job("import", log, "--data", tmp_path / "shop", "--map", MAP).code == 0


OWNED = ("interactions.parquet", "items.parquet", "import.json", "features/x.npy")
RENAMES = 10
"""Of one `publish`: four old ones away, a mark, four new ones up, a mark."""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A dataset whose files say "old", and what an import does not own."""
    for name in (*OWNED, "events/date=1/e.parquet", "notes.txt"):
        text_file(tmp_path / "shop" / name, "old")
    return tmp_path / "shop"


def publish_new(folder: Path) -> None:
    with folder_build(folder) as build:
        for name in OWNED:
            text_file(build.new / name, "new")
        build.publish()


def state_of(folder: Path) -> dict[str, str]:
    return {name: held.decode() for name, held in bytes_of(folder).items()}


WHOLE = {
    said: dict.fromkeys(OWNED, said) | {"events/date=1/e.parquet": "old", "notes.txt": "old"} for said in ("old", "new")
}


class KilledError(BaseException):
    """Nothing of the process goes on."""


def failing_renames(patch: pytest.MonkeyPatch, at: int, error: BaseException, *, once: bool) -> None:
    """From the `at`-th on they fail, or it alone does."""
    rename, count = Path.rename, itertools.count(1)

    def fails(source: Path, target: Path) -> Path:
        number = next(count)
        if number == at or (number > at and not once):
            raise error
        return rename(source, target)

    patch.setattr(Path, "rename", fails)


def test_a_dataset_is_replaced_and_the_rest_stays(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_renames(monkeypatch, RENAMES + 1, OSError("one too many"), once=False)
    publish_new(old)
    assert state_of(old) == WHOLE["new"]
    assert no_leftovers(old)


@pytest.mark.parametrize("at", range(1, RENAMES + 1))
def test_a_rename_that_fails_leaves_the_old_dataset(old: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    failing_renames(monkeypatch, at, OSError(5, "Input/output error"), once=True)
    with pytest.raises(JobError, match="nothing was changed in it"):
        publish_new(old)
    assert state_of(old) == WHOLE["old"]
    assert no_leftovers(old)


@pytest.mark.parametrize("at", range(2, RENAMES + 1))
def test_what_cannot_be_put_back_is_kept_and_named(old: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """The message says where both datasets are, and the next import mends it."""
    with monkeypatch.context() as patch:
        failing_renames(patch, at, OSError(5, "Input/output error"), once=False)
        with pytest.raises(JobError, match="nothing is lost: the old ones are in") as caught:
            publish_new(old)
    held = Path(re.search(r"the old ones are in (\S+) ", str(caught.value))[1])
    assert "old" in {path.read_text() for path in held.rglob("*") if path.is_file()}
    with folder_build(old) as build:
        assert {name: (old / name).read_text() for name in WHOLE["old"]} == WHOLE["old"]
        assert not any(build.new.iterdir())
    assert state_of(old) == WHOLE["old"]


@pytest.mark.parametrize("at", range(1, RENAMES + 1))
def test_a_killed_import_is_mended_by_the_next(old: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Killed at every rename, and once more while it is mended; what an import does not own never moves."""
    for again in (at, 1):
        with monkeypatch.context() as patch:
            failing_renames(patch, again, KilledError(), once=False)
            with pytest.raises(KilledError):
                publish_new(old)
        assert {"events/date=1/e.parquet", "notes.txt"} <= set(state_of(old))
    with folder_build(old):
        assert {name: (old / name).read_text() for name in WHOLE["old"]} == WHOLE["old"]
    assert state_of(old) == WHOLE["old"]


@pytest.mark.parametrize(("at", "held"), [(7, "old"), (RENAMES + 1, "new")])
def test_a_kill_of_the_process(old: Path, at: int, held: str) -> None:
    """SIGKILL between two renames, or after the last one: while it removes what it needed."""
    program = f"""
import itertools, os, shutil, signal
from pathlib import Path
from tests.offline.importing.test_dataset_folder import publish_new
rename, count = Path.rename, itertools.count(1)
def killing(source, target):
    if next(count) == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(source, target)
Path.rename = killing
shutil.rmtree = lambda root, **_: (Path(root) / 'done').exists() and os.kill(os.getpid(), signal.SIGKILL)
publish_new(Path({str(old)!r}))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    with folder_build(old):
        assert (old / "interactions.parquet").read_text() == held
    assert state_of(old) == WHOLE[held]


def test_the_night_after_a_kill_goes_on_from_the_old_dataset(
    job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the night alone would become the dataset: there is no import.json while it is moved."""
    log = text_file(tmp_path / "log.csv", LOG)
    call = ("import", log, "--data", tmp_path / "shop", "--map", MAP, "--since-watermark")
    kept = job(*call).result["interactions"]
    with monkeypatch.context() as patch:
        failing_renames(patch, 5, KilledError(), once=False)
        with pytest.raises(KilledError):
            job(*call)
    assert "an import is at work there or was killed; wait for it, or start it" in job("check", "--data", call[3]).err
    text_file(log, LOG.splitlines(keepends=True)[0] + "9,B,2024-01-09T00:00:00Z,view,2\n")
    assert job(*call).result["interactions"] == kept + 1


def test_an_import_waits_for_who_holds_the_events(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offline.importing.dataset_folder.ARCHIVE_SECONDS", 0.0)
    with locked_folder(old / "events", "held"), pytest.raises(LockedError, match="import again when it is done"):
        publish_new(old)
    assert state_of(old) == WHOLE["old"]
    with monkeypatch.context() as patch:
        released = ExitStack()
        released.enter_context(locked_folder(old / "events", "held"))
        patch.setattr("offline.importing.dataset_folder.ARCHIVE_SECONDS", 60.0)
        patch.setattr("offline.folder_lock.time.sleep", lambda _: released.close())
        publish_new(old)
    assert state_of(old) == WHOLE["new"]


def test_the_folder_itself_stays(job, tmp_path: Path) -> None:
    """It may be a mount point, which cannot be renamed, in a folder that cannot be written to."""
    shop, log = tmp_path / "shop", text_file(tmp_path / "log.csv", LOG)
    shop.mkdir()
    before, parent = shop.stat().st_ino, tmp_path.stat().st_mtime_ns
    for option in ("--since-watermark", "--overwrite"):
        assert job("import", log, "--data", shop, "--map", MAP, option).code == 0
    assert (shop.stat().st_ino, tmp_path.stat().st_mtime_ns) == (before, parent)


def test_the_archive_of_no_dataset_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such folder"), EventArchive(tmp_path / "shop", "mmgrec").locked():
        pass
    assert not (tmp_path / "shop").exists()
