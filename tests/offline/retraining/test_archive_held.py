"""Who reads the archive holds it: a `forget` at the same moment replaces files, and must not look like damage."""

import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from offline import folder_lock
from offline.errors import LockedError
from offline.retraining import event_steps
from offline.retraining.archive_index import ArchivedFile
from offline.retraining.event_archive import EventArchive
from offline.retraining.event_steps import archive_held
from tests.offline.conftest import item_id
from tests.offline.retraining.conftest import Shop
from tests.offline.retraining.nights import Nights


def test_every_reading_of_a_night_holds_it(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    nights.happen(item_id(1))
    verified, seen = EventArchive.verified, []

    def watched(self: EventArchive, files: Sequence[ArchivedFile]) -> list[Path]:
        try:
            with self.locked():
                seen.append("free")
        except LockedError:
            seen.append("held")
        return verified(self, files)

    monkeypatch.setattr(EventArchive, "verified", watched)
    assert nights.night().result["result"] == "published"
    assert seen == ["held"] * 3  # snapshot, recent users, trim


def context_of(shop: Shop) -> Any:
    return SimpleNamespace(archive=shop.archive)


def test_who_has_it_is_waited_for(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = threading.Event()
    holder = shop.archive.locked()
    holder.__enter__()

    def ends(_: float) -> None:
        if not waited.is_set():
            holder.__exit__(None, None, None)
        waited.set()

    monkeypatch.setattr(folder_lock.time, "sleep", ends)
    with archive_held(context_of(shop)):
        assert waited.is_set()


def test_but_not_for_ever(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_steps, "LONGEST_WAIT_SECONDS", 0.0)
    with (
        shop.archive.locked(),
        pytest.raises(LockedError, match="another job changes"),
        archive_held(context_of(shop)),
    ):
        pass
