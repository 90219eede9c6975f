"""Kept vectors: found by content and encoder, whole or not at all."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from offline.encoding.row_cache import RowCache, open_row_cache, row_key
from offline.errors import BadInputError, JobError, LockedError

KEYS = [row_key("encoder", f"content {number}") for number in range(1200)]
VECTORS = np.arange(2400, dtype=np.float32).reshape(1200, 2)


def test_what_is_kept_is_found_after_a_new_start(tmp_path: Path) -> None:
    with open_row_cache(tmp_path / "part") as cache:
        assert cache.known() == set()
        cache.add(KEYS, VECTORS)
    with open_row_cache(tmp_path / "part") as cache:
        assert cache.known() == set(KEYS)
        found = cache.read([*KEYS, b"unknown"])  # more keys than one query takes
        np.testing.assert_array_equal(np.stack([found[key] for key in KEYS]), VECTORS)
        assert len(found) == len(KEYS)


def test_keys_tell_contents_and_encoders_apart() -> None:
    assert len({row_key("e", "a"), row_key("e", "b"), row_key("f", "a"), *KEYS}) == 3 + len(KEYS)


def test_a_damaged_vector_is_forgotten(tmp_path: Path) -> None:
    with open_row_cache(tmp_path) as cache:
        cache.add(KEYS[:2], VECTORS[:2])
    with sqlite3.connect(tmp_path / "rows.sqlite") as connection:
        connection.execute("UPDATE vectors SET vector = x'00000000' WHERE key = ?", (KEYS[0],))
    connection.close()
    with open_row_cache(tmp_path) as cache:
        assert cache.known() == {KEYS[1]}
        assert list(cache.read(KEYS[:2])) == [KEYS[1]]


def test_what_no_item_has_any_more_is_forgotten(tmp_path: Path) -> None:
    with open_row_cache(tmp_path) as cache:
        cache.add(KEYS[:3], VECTORS[:3])
        cache.keep_only(KEYS[1:2])
        assert cache.known() == {KEYS[1]}


def test_an_unchanged_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"one")
    with open_row_cache(tmp_path) as cache:
        first = cache.digest_of(file)
    monkeypatch.setattr("offline.encoding.row_cache.sha256_of_file", lambda path: "read again")
    with open_row_cache(tmp_path) as cache:
        assert cache.digest_of(file) == first
        file.write_bytes(b"more")
        assert cache.digest_of(file) == "read again"


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        open_row_cache(tmp_path),
        pytest.raises(LockedError, match="another process encodes into"),
        open_row_cache(tmp_path),
    ):
        pass


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "features").write_text("a file")
    with pytest.raises(BadInputError, match="make the features folder writable"), open_row_cache(tmp_path / "features"):
        pass


def test_a_full_disk_ends_the_job_and_keeps_what_is_finished(tmp_path: Path) -> None:
    with open_row_cache(tmp_path) as cache:
        cache.add(KEYS[:1], VECTORS[:1])

    def fill(cache: RowCache) -> None:
        cache._connection.execute("PRAGMA max_page_count = 1")  # as SQLite sees a disk without room
        cache.add(KEYS[1:], VECTORS[1:])

    with pytest.raises(JobError, match="check that the disk has room"), open_row_cache(tmp_path) as cache:
        fill(cache)
    with open_row_cache(tmp_path) as cache:
        assert cache.known() == {KEYS[0]}
