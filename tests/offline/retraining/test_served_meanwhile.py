"""What others do to the served release while a run is made, and what a run does to the items of the served release."""

from typing import Any

import polars as pl
import pytest

from offline.retraining.early_checks import CatalogueChange, catalogue_change
from tests.offline.conftest import item_id
from tests.offline.retraining.nights import Nights


def test_a_rollback_while_it_ran_stays_and_the_next_call_compares_again(nights: Nights) -> None:
    first = nights.night().result["version"]
    nights.happen(item_id(1))
    second = nights.night().result["version"]
    nights.happen(item_id(3))
    nights.after_training = lambda _: _rolled_back(nights)
    ended = nights.night()
    assert (ended.code, ended.out, nights.active) == (4, "", first)
    assert f"was compared with release {second}, but {first} is served now" in ended.err
    assert len(nights.store.versions()) == 2  # nothing of it was written
    nights.after_training = lambda _: None
    again = nights.night().result
    assert (again["result"], again["gate"]["compared_with"]) == ("published", first)
    assert nights.store.read_manifest(again["version"]).parent == first
    assert len(nights.trainings) == 3


def _rolled_back(nights: Nights) -> None:
    nights.store.rollback()


def test_a_rollback_while_it_is_written_stays(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last look is right before the pointer."""
    first = nights.night().result["version"]
    nights.happen(item_id(1))
    nights.night()
    nights.happen(item_id(3))
    write = type(nights.store).write_manifest

    def disturbed(store: Any, manifest: Any) -> None:
        write(store, manifest)
        nights.store.rollback()

    with monkeypatch.context() as patched:
        patched.setattr(type(nights.store), "write_manifest", disturbed)
        ended = nights.night()
    assert (ended.code, nights.active) == (4, first)


def test_items_that_come_and_go_are_told(nights: Nights) -> None:
    first = nights.night()
    assert (first.result["items_added"], first.result["items_removed"]) == (None, None)  # beside what?
    path = nights.data / "items.parquet"
    table = pl.read_parquet(path).with_columns(item_id=pl.col("item_id").replace(item_id(0), "new-1"))
    table.write_parquet(path)
    path = nights.data / "interactions.parquet"
    pl.read_parquet(path).filter(pl.col("item_id") != item_id(0)).write_parquet(path)
    ended = nights.night()
    assert (ended.result["items_added"], ended.result["items_removed"]) == (1, 1)
    assert f"1 items come and 1 go beside release {first.result['version']} (come: new-1)" in ended.err
    assert f"are not in items.parquet of the dataset and go with this run ({item_id(0)})" in ended.err


def test_what_a_catalogue_gains_and_loses() -> None:
    assert catalogue_change(("a", "b", "c"), ("d", "c", "a")) == CatalogueChange(3, ("d",), ("b",))
    assert catalogue_change((), ("a",)).counts() == {"served": 0, "added": 1, "removed": 0}


def test_a_quiet_night_says_nothing_of_items(nights: Nights) -> None:
    nights.night()
    nights.happen(item_id(1))
    ended = nights.night()
    assert (ended.result["items_added"], ended.result["items_removed"]) == (0, 0)
    assert "items come" not in ended.err
