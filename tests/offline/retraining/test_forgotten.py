"""Who asks to be forgotten: out of the archive for good, whatever is killed in between, and free to come back."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from offline.errors import BadInputError
from offline.retraining.forgotten import NAME, read_forgotten, remember_forgotten, remove_forgotten
from service.contract.event_stream import Forgotten
from tests.offline.conftest import write_dataset
from tests.offline.retraining.conftest import NOW, Shop, event
from tests.offline.retraining.test_event_archive import killed_at


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("date=*/*"))


def test_a_tombstone_removes_what_came_before_it_and_nothing_else(shop: Shop) -> None:
    shop.add(event("old", user="anna"))
    shop.add(event("other", user="bert"))
    shop.archive_all()
    shop.trim()
    shop.add(event("yesterday", user="anna"))
    shop.add(Forgotten("anna", NOW))
    shop.add(event("again", user="anna"))
    counts = shop.archive_all()
    assert (counts["tombstones"], counts["removed"]) == (1, 2)
    assert sorted(shop.items()) == ["again", "other"]
    assert b"yesterday" not in bytes_of(shop.archive.folder)


def test_a_file_of_which_nothing_is_left_goes_and_others_stay_as_they_are(shop: Shop) -> None:
    shop.add(event("a", user="anna"))
    shop.archive_all()
    shop.add(event("b", user="bert"))
    shop.archive_all()
    before = {file.name for file in shop.archive.files()}
    shop.add(Forgotten("anna", NOW))
    shop.archive_all()
    assert shop.items() == ["b"]
    assert {file.name for file in shop.archive.files()} < before


def test_a_file_may_be_rewritten_several_times(shop: Shop) -> None:
    for user in ("anna", "dora", "jan"):  # of one partition
        shop.add(event(user, user=user))
    assert len({shop.stream_of(user) for user in ("anna", "dora", "jan")}) == 1
    shop.archive_all()
    for user, left in (("anna", ["dora", "jan"]), ("dora", ["jan"])):
        shop.add(Forgotten(user, NOW))
        shop.archive_all()
        assert shop.items() == left
    (path,) = shop.archive.folder.glob("date=*/*")
    assert path.name.endswith(".2.parquet")


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("write", [1, 2, 3, 4, 5, 6])
def test_killed_at_any_write_the_user_is_forgotten_by_the_next_run(shop: Shop, write: int, after: bool) -> None:
    """The writes: file, tombstones, index; rewritten file, index, tombstones."""
    shop.add(event("old", user="anna"))
    shop.add(event("jan", user="jan"))
    shop.archive_all()
    shop.add(event("new", user="anna"))
    shop.add(Forgotten("anna", NOW))
    with killed_at(write, after=after):
        shop.archive_all()
    shop.archive_all()
    assert shop.items() == ["jan"]
    assert read_forgotten(shop.archive.folder)["anna"].removed


def test_the_last_tombstone_counts(shop: Shop) -> None:
    remember_forgotten(shop.archive.folder, {"anna": (end := shop.add(event("a")))})
    remember_forgotten(shop.archive.folder, {"anna": end._replace(arrived_ms=5)})
    assert read_forgotten(shop.archive.folder)["anna"].entry == end


@pytest.mark.parametrize("content", ["", "[]", '{"anna": 5}', '{"anna": ["x", true]}'])
def test_a_damaged_list_is_named(shop: Shop, content: str) -> None:
    shop.archive.folder.mkdir()
    (shop.archive.folder / NAME).write_text(content)
    with pytest.raises(BadInputError, match=f"{NAME} cannot be read .*restore it from a backup"):
        remove_forgotten(shop.archive)


def test_the_job(job: Any, shop: Shop) -> None:
    write_dataset(shop.data / "made", {"user_id": ["anna"], "item_id": ["a"]}, {"item_id": ["a"]})
    shop.archive.folder = shop.data / "made" / "events"
    shop.add(event("a", user="anna"))
    shop.add(event("b", user="bert"))
    shop.archive_all()
    flags = ("--data", shop.data / "made", "--namespace", shop.keys.namespace)
    assert job("forget", *flags, "--user", "anna", "--user", "nobody").result == {"users": 2, "removed": 1}
    assert shop.items() == ["b"]
    assert job("forget", *flags, "--user", "anna").result == {"users": 1, "removed": 0}
    for user, named in (("", "is no user id"), ("u" * 257, "1 to 256 characters")):
        ended = job("forget", *flags, "--user", user)
        assert (ended.code, ended.out) == (2, "")
        assert named in ended.err
    assert "no such folder" in job("forget", "--data", shop.data / "none", "--user", "anna").err
    with shop.archive.locked():
        assert job("forget", *flags, "--user", "anna").code == 4


def test_events_of_other_columns_are_not_invented(shop: Shop) -> None:
    shop.add(event("a", user="anna"))
    shop.add(event("b", user="jan"))
    shop.archive_all()
    columns = shop.archived().columns
    shop.add(Forgotten("anna", NOW))
    shop.archive_all()
    (path,) = shop.archive.folder.glob("date=*/*")
    assert pl.read_parquet(path, hive_partitioning=False).columns == columns
