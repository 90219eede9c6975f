"""The long-term log: every event once, whatever is repeated, killed or damaged in between."""

import errno
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from offline.errors import BadInputError, LockedError
from offline.retraining import event_archive
from offline.retraining.event_archive import EventArchive
from offline.retraining.event_streams import EntryId
from service.contract.event_stream import Forgotten, StoredEvent
from tests.offline.retraining.conftest import DAY_MS, NOW, Shop, event


class KilledError(BaseException):
    """In place of a kill: nobody catches it."""


@contextmanager
def killed_at(write: int, *, after: bool) -> Iterator[None]:
    """Die right before or after so many files were moved to their place, with what a killed writer leaves."""
    replace, moved = Path.replace, [0]

    def counted(self: Path, target: Path) -> Path:
        moved[0] += 1
        if moved[0] != write:
            return replace(self, target)
        if after:
            replace(self, target)
        else:
            self.with_name(f"{target.name}.0.part").write_bytes(self.read_bytes()[:10])
        raise KilledError

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "replace", counted)
        with suppress(KilledError):
            yield


def test_an_event_as_it_is_archived(shop: Shop) -> None:
    entry = shop.add(StoredEvent("anna", "mug", NOW - 5, "buy", 2.5, "e-1"), at=f"{NOW}-3")
    assert shop.archive_all() == {
        "read": 1,
        "archived": 1,
        "duplicates": 0,
        "unreadable": 0,
        "tombstones": 0,
        "removed": 0,
    }
    (row,) = shop.archived().iter_rows()
    assert row == ("anna", "mug", NOW - 5, "buy", 2.5, "e-1", entry.arrived_ms, entry.sequence)
    (path,) = shop.archive.folder.glob("date=*/*")
    partition = shop.stream_of("anna").rpartition(":")[2]
    assert path.relative_to(shop.archive.folder) == Path(f"date=2024-10-04/part-{partition}-{NOW}-3-{NOW}-3.parquet")
    assert pl.read_parquet(path, hive_partitioning=False).columns == list(event_archive.SCHEMA)


def test_files_are_by_day_of_arrival_and_not_larger_than_a_chunk(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_archive, "MOST_ROWS", 3)
    monkeypatch.setattr("offline.retraining.event_streams.PAGE", 3)
    for at in range(8):
        shop.add(event(f"i{at}", time=5), at=f"{NOW - 1 if at < 2 else NOW}-{at}")
    shop.archive_all()
    found = {path.parent.name: 0 for path in shop.archive.folder.glob("date=*/*")}
    for path in shop.archive.folder.glob("date=*/*"):
        found[path.parent.name] += 1
    assert found == {"date=2024-10-03": 1, "date=2024-10-04": 2}
    assert shop.items() == [f"i{at}" for at in range(8)]


def test_a_second_night_reads_only_what_is_new(shop: Shop) -> None:
    shop.add(event("a"))
    shop.archive_all()
    shop.trim()
    assert shop.client.xlen(shop.stream_of("anna")) == 1  # the last archived one stays
    shop.add(event("b"))
    assert (shop.archive_all()["read"], shop.items()) == (1, ["a", "b"])
    assert (shop.archive_all()["read"], shop.items()) == (0, ["a", "b"])


def test_archiving_again_changes_nothing_and_counts_the_same(shop: Shop) -> None:
    end = shop.add(event("a"))
    partition = int(shop.stream_of("anna").rpartition(":")[2])

    def append() -> dict[str, int]:
        return shop.archive.append(partition, shop.streams.read(partition, EntryId(0, 0), end), end, lambda _: None)

    first = append()
    files = {path: path.stat().st_mtime_ns for path in shop.archive.folder.rglob("*.*")}
    assert append() == first
    assert first["archived"] == 1
    assert {path: path.stat().st_mtime_ns for path in shop.archive.folder.rglob("*.*")} == files


def test_copies_are_dropped_within_a_batch_and_nights_later(shop: Shop) -> None:
    for item in ("a", "a", "b"):
        shop.add(event(item, event_id=f"e-{item}"))
    shop.add(event("a", user="bert", event_id="e-a"))  # of another user: another event
    assert shop.archive_all()["duplicates"] == 1
    shop.trim()
    shop.add(event("a", event_id="e-a"))
    shop.add(event("c", event_id="e-c"))
    counts = shop.archive_all()
    assert (counts["read"], counts["archived"], counts["duplicates"]) == (2, 1, 1)
    assert sorted(shop.items()) == ["a", "a", "b", "c"]


def test_without_an_event_id_nothing_tells_a_copy(shop: Shop) -> None:
    for _ in range(2):
        shop.add(event("a"))
        shop.archive_all()
    assert shop.items() == ["a", "a"]


def test_what_is_no_event_is_skipped_counted_and_said_once(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    stream = shop.stream_of("anna")
    for fields in ({"user": "anna", "time": 1}, {"user": "anna", "item": "a", "time": "soon"}, {"kind": "merge"}):
        shop.client.xadd(stream, fields)
    shop.add(event("a"))
    counts = shop.archive_all()
    assert (counts["read"], counts["unreadable"], shop.items()) == (4, 3, ["a"])
    assert capsys.readouterr().err.count("without item") == 1


def test_partitions_that_the_service_has_given_up_are_read_too(shop: Shop) -> None:
    for partition in (0, 7, 1023):
        shop.client.xadd(shop.keys.events(partition), dict(event(f"p{partition}").fields()))
    assert shop.streams.partitions() == [0, 7, 1023]
    shop.archive_all()
    assert sorted(shop.items()) == ["p0", "p1023", "p7"]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("write", [1, 2, 3, 4])
def test_killed_at_any_write_nothing_is_lost_or_doubled(shop: Shop, write: int, after: bool) -> None:
    """The writes: an empty index, a file of each of two days, the index."""
    for at, day in enumerate((NOW - DAY_MS, NOW)):
        shop.add(event(f"i{at}", event_id=f"e{at}"), at=f"{day}-{at}")
    with killed_at(write, after=after):
        shop.archive_all()
    shop.add(event("i1", event_id="e1"))  # a copy, and a new one, come meanwhile
    shop.add(event("i2", event_id="e2"))
    shop.archive_all()
    assert shop.items() == ["i0", "i1", "i2"]


def test_a_disk_that_is_full_changes_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.add(event("a"))
    shop.archive_all()
    shop.add(event("b"))
    with monkeypatch.context() as patched:

        def full(*_: Any, **__: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patched.setattr(pl.DataFrame, "write_parquet", full)
        with pytest.raises(OSError, match="No space left"):
            shop.archive_all()
    assert shop.items() == ["a"]
    shop.archive_all()
    assert shop.items() == ["a", "b"]


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_file_is_named(shop: Shop, damage: str) -> None:
    shop.add(event("a"))
    shop.archive_all()
    (path,) = shop.archive.folder.glob("date=*/*")
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BadInputError, match=rf"{path.name} is damaged .*; restore it from a backup"):
        shop.archive.verified(shop.archive.files())


@pytest.mark.parametrize("content", [None, "", "[]", '{"partition": 1}'])
def test_an_index_that_is_lost_or_damaged_is_named_and_no_file_is_removed(shop: Shop, content: str | None) -> None:
    shop.add(event("a"))
    shop.archive_all()
    (path,) = shop.archive.folder.glob("partition-*.json")
    kept = path.read_text()
    path.unlink() if content is None else path.write_text(content)
    shop.add(event("b"))
    with pytest.raises(BadInputError, match=rf"{path.name} .*restore it from a backup: without it nobody knows which"):
        shop.archive_all()
    path.write_text(kept)
    shop.archive_all()
    assert shop.items() == ["a", "b"]


def test_another_namespace_is_refused(shop: Shop) -> None:
    shop.add(event("a"))
    shop.archive_all()
    shop.archive = EventArchive(shop.data, "another")
    with pytest.raises(BadInputError, match=f"of namespace {shop.keys.namespace}, not of another; give another --data"):
        shop.archive.watermarks()


def test_two_jobs_do_not_change_it_at_once(shop: Shop) -> None:
    with shop.archive.locked(), pytest.raises(LockedError, match="another job changes"), shop.archive.locked():
        pass


USERS, IDS = ("anna", "bert", "carl"), ("e-1", "e-2", None)
ADD = st.tuples(st.just("add"), st.sampled_from(USERS), st.sampled_from(IDS))
KILL = st.tuples(st.just("kill"), st.integers(1, 6), st.booleans())
FORGET = st.tuples(st.just("forget"), st.sampled_from(USERS), st.none())
OTHER = st.tuples(st.sampled_from(["archive", "trim"]), st.none(), st.none())


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=st.lists(ADD | ADD | ADD | KILL | FORGET | OTHER, max_size=25))
def test_the_archive_is_the_set_of_distinct_events(
    redis_url: str, tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, Any, Any]]
) -> None:
    """Beside it a slow and obvious list of what must be there."""
    expected: list[StoredEvent] = []
    forgets = 0
    with redis.Redis.from_url(redis_url) as client:
        shop = Shop(client, f"test-{uuid.uuid4().hex[:12]}", tmp_path_factory.mktemp("data"))
        for number, (what, which, more) in enumerate(actions):
            if what == "add":
                event_id = (
                    more and f"{more} after {forgets}"
                )  # whoever repeats what is forgotten may have it again or not
                added = event(event_id or f"i{number}", user=which, event_id=event_id)
                shop.add(added)
                if event_id is None or added not in expected:
                    expected.append(added)
            elif what == "forget":
                shop.add(Forgotten(which, NOW))
                forgets += 1
                expected = [each for each in expected if each.user_id != which]
            elif what == "kill":
                with killed_at(which, after=more):
                    shop.archive_all()
            elif what == "archive":
                shop.archive_all()
            else:
                shop.trim()
        shop.archive_all()
        shop.archive_all()
        found = shop.archived()
    got = [(row["user_id"], row["item_id"]) for row in found.iter_rows(named=True)] if found.width else []
    assert sorted(got) == sorted((each.user_id, each.item_id) for each in expected)
