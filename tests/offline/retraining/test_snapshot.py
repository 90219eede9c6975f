"""The snapshot: base and events in one dataset folder, by eye."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from offline.dataset import load_dataset
from offline.errors import BadInputError
from offline.retraining.event_streams import EntryId
from offline.retraining.forgotten import remember_forgotten
from offline.retraining.snapshot import write_snapshot
from offline.retraining.snapshot_rows import MOST_AHEAD_MS, comparable_times
from offline.run_folder import fingerprint
from service.contract.event_stream import Forgotten, StoredEvent
from tests.offline.retraining.conftest import NOW, Shop, event

ITEMS = {"item_id": ["a", "b", "c", "d", "e", "f"]}
BEFORE = NOW - 1_000_000
TIMED = {"user_id": ["anna"] * 3, "item_id": ["a", "b", "c"], "timestamp": [BEFORE, BEFORE + 1, BEFORE + 2]}
PLAIN = {"user_id": ["anna"] * 4 + ["bert"] * 4, "item_id": ["a", "b", "c", "d"] * 2}


@pytest.fixture
def world(shop: Shop) -> "World":
    return World(shop)


class World:
    """A dataset folder with an archive, and snapshots of it."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.data = shop.data / "base"
        shop.archive.folder = self.data / "events"
        self._runs = 0

    def base(self, interactions: dict[str, Any]) -> None:
        self.data.mkdir(exist_ok=True)
        pl.DataFrame(interactions).write_parquet(self.data / "interactions.parquet")
        pl.DataFrame(ITEMS).write_parquet(self.data / "items.parquet")

    def snapshot(self, *, cut: dict[int, EntryId] | None = None, earlier: Path | None = None) -> dict[str, Any]:
        self.shop.archive_all()
        self._runs += 1
        cut = self.shop.archive.watermarks() if cut is None else cut
        return write_snapshot(self.data, self.run, self.shop.archive, cut, seed=0, earlier=earlier)

    @property
    def run(self) -> Path:
        return self.shop.data / f"run-{self._runs}"

    @property
    def folder(self) -> Path:
        return self.run / "dataset"

    def rows(self, *columns: str) -> list[tuple[Any, ...]]:
        return pl.read_parquet(self.folder / "interactions.parquet").select(columns).rows()


def test_without_events_it_is_the_base_as_it_is(world: World) -> None:
    world.base({**TIMED, "split": ["train", "valid", "test"]})
    (world.data / "features").mkdir()
    np.save(world.data / "features" / "text.npy", np.ones((6, 2), np.float32))
    (world.data / "features" / "text.encoder.json").write_text("{}")
    counts = world.snapshot()
    assert counts["sha256"] == fingerprint(world.folder) == fingerprint(world.data)
    assert (counts["interactions"], counts["items"], counts["events"]) == (3, 6, 0)
    assert (world.folder / "features" / "text.encoder.json").read_text() == "{}"
    np.save(world.data / "features" / "text.npy", np.zeros((6, 2), np.float32))  # whatever comes to the base
    assert counts["sha256"] == fingerprint(world.folder)


@pytest.mark.parametrize("name", ["text.npy", "text.json"])
def test_what_cannot_be_trained_on_is_named_before_there_is_a_snapshot(world: World, name: str) -> None:
    """By the file that its owner has to mend."""
    world.base(TIMED)
    (world.data / "features").mkdir()
    np.save(world.data / "features" / "text.npy", np.ones((6, 2), np.float32))
    (world.data / "features" / "text.json").write_text("{}")
    if name == "text.npy":
        np.save(world.data / "features" / "text.npy", np.array([[1, np.nan]] * 6, np.float32))
    with pytest.raises(BadInputError, match=str(world.data / "features" / name)):
        world.snapshot()
    assert list(world.run.iterdir()) == []


def test_a_damaged_earlier_snapshot_is_told_and_not_needed(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.base(PLAIN)
    (tmp_path / "earlier").mkdir()
    (tmp_path / "earlier" / "interactions.parquet").write_bytes(b"PAR1")
    (tmp_path / "earlier" / "items.parquet").write_bytes(b"PAR1")
    world.snapshot(earlier=tmp_path / "earlier")
    with_it = world.rows("user_id", "item_id", "split")
    assert "the last snapshot is damaged" in capsys.readouterr().err
    world.snapshot()
    assert world.rows("user_id", "item_id", "split") == with_it


def test_events_follow_the_base_and_the_last_ones_are_held_out(world: World) -> None:
    world.base({**TIMED, "split": ["train", "valid", "test"]})
    world.shop.add(event("e", time=NOW + 5))
    world.shop.add(StoredEvent("anna", "d", NOW + 1, "buy", 2.0))  # came late
    world.shop.add(event("a", user="new", time=NOW))
    assert world.snapshot()["events"] == 3
    assert world.rows("user_id", "item_id", "timestamp", "event", "weight")[3:] == [
        ("new", "a", NOW, None, 1.0),
        ("anna", "d", NOW + 1, "buy", 2.0),
        ("anna", "e", NOW + 5, None, 1.0),
    ]
    dataset = load_dataset(world.folder)
    held_out = {name: [dataset.item_ids[row] for row in part.items] for name, part in _parts(dataset).items()}
    assert held_out == {"train": ["a", "b", "c", "a"], "valid": ["d"], "test": ["e"]}


def _parts(dataset: Any) -> dict[str, Any]:
    return {"train": dataset.train, "valid": dataset.valid, "test": dataset.test}


def test_unknown_items_and_wrong_clocks_are_counted(world: World) -> None:
    world.base(TIMED)
    arrived = NOW + 7
    for at, (item, time) in enumerate(
        [("nobody-knows-it", NOW), ("d", arrived + MOST_AHEAD_MS), ("e", arrived + MOST_AHEAD_MS + 1), ("f", 1_000)]
    ):
        world.shop.add(event(item, time=time), at=f"{arrived}-{at}")
    counts = world.snapshot()
    assert (counts["unknown_items"], counts["clock_ahead"], counts["clock_behind"]) == (1, 1, 1)
    late = arrived + MOST_AHEAD_MS
    assert world.rows("item_id", "timestamp")[3:] == [("e", arrived), ("f", arrived), ("d", late)]


def test_only_events_up_to_the_cut_count(world: World) -> None:
    world.base(TIMED)
    partition = int(world.shop.stream_of("anna").rpartition(":")[2])
    for at, item in enumerate(("d", "e", "f")):
        world.shop.add(event(item), at=f"{NOW}-{at + 1}")
    assert world.snapshot(cut={partition: EntryId(NOW, 2)})["events"] == 2
    assert [item for (item,) in world.rows("item_id")] == ["a", "b", "c", "d", "e"]
    assert world.snapshot(cut={})["events"] == 0


def test_copies_in_two_partitions_count_once(world: World) -> None:
    """The number of partitions was changed, and an event was repeated."""
    world.base(TIMED)
    for partition in (0, 1):
        world.shop.client.xadd(world.shop.keys.events(partition), dict(event("d", event_id="e-1").fields()))
    counts = world.snapshot()
    assert (counts["events"], counts["copies"]) == (1, 1)


@pytest.mark.parametrize("base", [TIMED, PLAIN])
def test_who_is_forgotten_is_in_no_later_snapshot(world: World, base: dict[str, Any]) -> None:
    rows = {name: [*values, values[0]] for name, values in base.items()}
    world.base({**rows, "user_id": [*base["user_id"], "zoe"]})
    world.shop.add(event("d", user="anna"))
    world.shop.add(Forgotten("anna", NOW))
    world.shop.add(event("e", user="anna"))
    counts = world.snapshot()
    assert counts["forgotten"] == base["user_id"].count("anna")
    assert [item for user, item in world.rows("user_id", "item_id") if user == "anna"] == ["e"]


def test_base_interactions_after_the_tombstone_count(world: World) -> None:
    world.base(TIMED)
    remember_forgotten(world.shop.archive.folder, {"anna": EntryId(BEFORE + 1, 0)})
    assert world.snapshot()["forgotten"] == 2
    assert world.rows("item_id") == [("c",)]


def test_without_time_a_pair_counts_once_and_what_was_held_out_stays_so(world: World) -> None:
    world.base(PLAIN)
    drawn = load_dataset(world.data, seed=0)
    before = {(drawn.user_ids[u], drawn.item_ids[i]) for u, i in zip(drawn.test.users, drawn.test.items, strict=True)}
    for item in ("a", "e", "e", "f"):
        world.shop.add(event(item, user="anna"))
    assert world.snapshot()["interactions"] == 10
    first = world.folder
    assert {
        (user, item) for user, item, split in world.rows("user_id", "item_id", "split") if split == "test"
    } >= before
    load_dataset(first)
    # The base is written anew, with more in it: a new draw would hold out what was trained on.
    world.base({"user_id": ["anna", *PLAIN["user_id"], "bert"], "item_id": ["f", *PLAIN["item_id"], "e"]})
    split_of = {(user, item): split for user, item, split in world.rows("user_id", "item_id", "split")}
    world.snapshot(earlier=first)
    again = {(user, item): split for user, item, split in world.rows("user_id", "item_id", "split")}
    assert again.items() > split_of.items()


def test_a_given_split_without_time_is_kept(world: World) -> None:
    world.base({**PLAIN, "split": ["train", "train", "valid", "test"] * 2})
    world.shop.add(event("d", user="anna"))  # held out for test, and stays so
    world.shop.add(event("e", user="anna"))
    world.snapshot()
    rows = world.rows("user_id", "item_id", "split")
    assert rows[:4] == [
        ("anna", item, split) for item, split in zip("abcd", ("train", "train", "valid", "test"), strict=True)
    ]
    assert len(rows) == 9


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (pl.Series([1_700_000_000]), [1_700_000_000_000]),
        (pl.Series([1_700_000_000.5]), [1_700_000_000_500]),
        (pl.Series([1_700_000_000_123]), [1_700_000_000_123]),
        (pl.Series([1_700_000_000_123_456]), [1_700_000_000_123]),
        (pl.Series([1_700_000_000_123_456_789]), [1_700_000_000_123]),
        (pl.Series([1, 2, 3]), [1, 2, 3]),
        (pl.Series([1_700_000_000_123]).cast(pl.Datetime("ms")), [1_700_000_000_123]),
    ],
)
def test_times_of_any_unit(times: pl.Series, expected: list[int]) -> None:
    assert comparable_times(times).to_list() == expected


def test_numbers_that_only_order_come_before_events(world: World) -> None:
    world.base({**TIMED, "timestamp": [3, 2, 1]})
    world.shop.add(event("d"))
    world.snapshot()
    dataset = load_dataset(world.folder)
    assert [dataset.item_ids[row] for row in dataset.full_history().of(0)] == ["c", "b", "a", "d"]


@pytest.mark.parametrize("name", ["interactions.parquet", "items.parquet"])
def test_a_bad_base_is_named_as_the_base(world: World, name: str) -> None:
    world.base(TIMED)
    (world.data / name).write_bytes(b"no parquet")
    with pytest.raises(BadInputError, match=rf"base/{name}: cannot be read"):
        world.snapshot()
    assert not world.folder.exists()


def test_a_damaged_archive_is_named_and_nothing_is_left(world: World) -> None:
    world.base(TIMED)
    world.shop.add(event("d"))
    world.shop.archive_all()
    (path,) = world.shop.archive.folder.glob("date=*/*")
    path.write_bytes(b"PAR1")
    with pytest.raises(BadInputError, match="is damaged"):
        world.snapshot()
    assert not world.folder.exists()
