"""`gc` where chunks lie in folders and object stores, which others may use as well."""

from pathlib import Path
from typing import Any

import pytest
import redis

from service.contract.blob_folder import folder_name
from tests.offline.releases.tiny_releases import (
    OWN_BYTES,
    Side,
    chain,
    chunk_keys,
    gc,
    make_old,
    refusal,
    require_whole,
    write_tiny,
)


def test_namespaces_in_one_redis_and_one_folder_leave_each_other_alone(side: Any, tmp_path: Path) -> None:
    staging, production = (side(name).at(str(tmp_path / "shared")) for name in ("staging", "production"))
    for each in (staging, production):
        chain(each.at("redis"), 3)
        chain(each, 3, first=4)
    make_old(tmp_path / "shared")
    result = gc(staging, "--keep", 1, "--sole-user").result
    assert result["removed"] == ["v1", "v2", "v3", "v4"]
    assert result["removed_chunks"] == 4 + 1  # in Redis all of three releases; in the folder what v4 had alone
    require_whole(staging)
    require_whole(production)
    assert len(production.store.versions()) == 6


@pytest.mark.parametrize("place", ["folder", "memory"])
def test_elsewhere_than_in_redis_chunks_go_only_when_told_who_uses_them(side: Any, place: str) -> None:
    staging = side("staging", place)
    chain(staging, 3)
    ended = gc(staging, "--keep", 1)
    assert ended.result["removed"] == ["v1"]
    assert (ended.result["removed_chunks"], ended.result["not_swept"]) == (0, [staging.store.blobs])
    assert f"chunks at {staging.store.blobs} stay, as other Redis servers may use them" in ended.err
    result = gc(staging, "--keep", 1, "--sole-user").result
    assert (result["removed_chunks"], result["too_new_chunks"]) == (0, 1)
    result = gc(staging, "--keep", 1, "--sole-user", "--grace-hours", 0).result
    assert (result["removed_chunks"], result["freed_bytes"]) == (1, OWN_BYTES)
    require_whole(staging)


def test_a_folder_that_two_redis_servers_share(side: Any, own_redis: Any, tmp_path: Path, job: Any) -> None:
    """The same namespace in staging and production: each must keep what the other one serves."""
    staging = side("shop", "folder")
    chain(staging, 3)
    own_redis.start()
    with redis.Redis.from_url(own_redis.url) as client:
        production = Side(client, own_redis.url, staging.namespace, staging.blobs_url, job)
        there = ("--to", own_redis.url, "--to-blobs-url", staging.blobs_url, "--activate")
        assert staging.call("copy", "v1", *there).result["sent_chunks"] == 0  # they lie there already
        make_old(Path(staging.blobs_url))
        result = gc(staging, "--keep", 1, "--shared-with", own_redis.url).result
        assert (result["removed"], result["removed_chunks"]) == (["v1"], 0)
        require_whole(production)
        client.set(production.keys.lock("publish"), "somebody", ex=60)
        assert gc(staging, "--keep", 1, "--shared-with", own_redis.url).code == 4
        client.delete(production.keys.lock("publish"))
        write_tiny(production.store, "v4", 4)
        production.store.activate("v4")
        make_old(Path(staging.blobs_url))
        assert gc(production, "--keep", 1, "--shared-with", staging.url).result["removed"] == []  # v1: a step back
        client.delete(production.keys.release("v1"))
        assert gc(production, "--keep", 1, "--shared-with", staging.url).result["removed_chunks"] == 1
        require_whole(production)
        require_whole(staging)
    assert "contradict each other" in refusal(gc(staging, "--sole-user", "--shared-with", own_redis.url))


def test_only_our_files_of_a_folder_go(side: Any) -> None:
    staging = side("staging", "folder")
    chain(staging, 1)
    folder = Path(staging.blobs_url) / folder_name(staging.namespace)
    for name in ("notes.txt", f"{'ab' * 32}.123-456.part", f"{'ab' * 32}.part", "cd" * 32):
        (folder / name).write_text("x")
    make_old(folder)
    result = gc(staging, "--sole-user").result
    assert (result["removed_chunks"], result["freed_bytes"]) == (2, 2)
    assert {path.name for path in folder.iterdir() if len(path.name) != 64} == {"notes.txt", f"{'ab' * 32}.part"}
    require_whole(staging)


def test_what_moved_to_a_folder_goes_from_redis(side: Any, client: redis.Redis) -> None:
    """Chunks that a release names in a folder say nothing about the same chunks in Redis."""
    staging = side("staging", "folder")
    chain(staging.at("redis"), 1)
    for version, parent in (("v2", "v1"), ("v3", "v2")):
        write_tiny(staging.store, version, 1, parent)
    staging.store.activate("v3")
    assert gc(staging, "--keep", 1).result["removed"] == ["v1"]
    assert chunk_keys(client, staging.keys) == set()
    require_whole(staging)


def test_a_folder_that_is_away_stops_it_before_anything(side: Any, tmp_path: Path) -> None:
    staging = side("staging", "folder")
    chain(staging, 3)
    Path(staging.blobs_url).rename(tmp_path / "unmounted")
    ended = gc(staging, "--keep", 1, "--sole-user")
    assert (ended.code, "is it mounted here" in ended.err) == (1, True)
    assert len(staging.store.versions()) == 3


def test_a_reader_of_another_place_is_not_swept(side: Any, tmp_path: Path) -> None:
    """A release below another --blobs-url than the one given: its chunks stay, and it is said."""
    staging = side("staging", "folder")
    chain(staging, 3)
    elsewhere = staging.at(str(tmp_path / "other"))
    (tmp_path / "other").mkdir()
    result = gc(elsewhere, "--keep", 1, "--sole-user").result
    assert (result["removed"], result["not_swept"]) == (["v1"], [staging.store.blobs])
    require_whole(staging)


def test_a_folder_that_another_redis_knows_by_another_name(side: Any, own_redis: Any, tmp_path: Path, job: Any) -> None:
    staging = side("shop", "folder")
    chain(staging, 3)
    (tmp_path / "mount").symlink_to(staging.blobs_url)
    own_redis.start()
    with redis.Redis.from_url(own_redis.url) as client:
        production = Side(client, own_redis.url, staging.namespace, str(tmp_path / "mount"), job)
        copied = staging.call("copy", "v1", "--to", own_redis.url, "--to-blobs-url", production.blobs_url).result
        assert (copied["sent_chunks"], copied["blobs"]) == (0, f"file://{tmp_path}/mount")
        make_old(Path(staging.blobs_url))
        assert gc(staging, "--keep", 1, "--shared-with", own_redis.url).result["removed_chunks"] == 0
        require_whole(production)
