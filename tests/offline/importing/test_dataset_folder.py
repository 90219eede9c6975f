"""A dataset folder is replaced whole or stays as it was: bad input, a full disk, a kill, two at once."""

import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import polars as pl
import pytest

from offline.importing.dataset_folder import folder_build
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


def killed(folder: Path, steps: str) -> None:
    """What a process leaves that was killed within `publish`, after these steps of it."""
    program = f"""
import os, sys
from pathlib import Path
from offline.importing.dataset_folder import folder_build
with folder_build(Path({str(folder)!r})) as build:
    for name in ("interactions.parquet", "items.parquet", "import.json"):
        (build.new / name).write_text("new")
    replaced = build.new.parent / "replaced" / build.target.name
    replaced.parent.mkdir()
    for step in {steps!r}.split():
        build.target.rename(replaced) if step == "away" else build.new.rename(build.target)
    os._exit(9)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 9, done.stderr


@pytest.mark.parametrize(("steps", "held"), [("", "old"), ("away", "old"), ("away here", "new")])
def test_a_killed_import_is_mended_by_the_next(tmp_path: Path, steps: str, held: str) -> None:
    """Either dataset is there in the end, and what an import does not own is with it."""
    shop = tmp_path / "shop"
    for name in ("interactions.parquet", "items.parquet", "import.json", "events/date=1/e.parquet"):
        text_file(shop / name, "old")
    killed(shop, steps)
    with folder_build(shop):
        assert (shop / "interactions.parquet").read_text() == held
        assert (shop / "events" / "date=1" / "e.parquet").read_text() == "old"
    assert no_leftovers(shop)
