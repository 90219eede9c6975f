"""`releases save`, `load`, `copy`, `verify` as they are called: between all places, refused, killed midway."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from offline.errors import BadInputError
from offline.moving_releases import Keys, receive_release
from tests.offline.releases.tiny_releases import (
    Side,
    answers,
    chunk_keys,
    moved,
    put_frozen,
    refusal,
    tiny_arrays,
    write_tiny,
)

ROOT = Path(__file__).parents[3]
PLACES = ("redis", "folder", "memory")


@pytest.mark.parametrize("to", PLACES)
@pytest.mark.parametrize("source", PLACES)
def test_what_is_loaded_is_what_was_saved(side: Any, source: str, to: str, tmp_path: Path) -> None:
    staging, production = side("staging", source), side("production", to)
    write_tiny(staging.store, "v1")
    saved = staging.call("save", "v1", tmp_path / "v1.tar").result
    assert saved == {"version": "v1", "file": str(tmp_path / "v1.tar"), "bytes": (tmp_path / "v1.tar").stat().st_size}
    loaded = production.call("load", tmp_path / "v1.tar").result
    assert (loaded["version"], loaded["was_there"], loaded["sent_chunks"]) == ("v1", False, 2)
    assert (loaded["blobs"], loaded["activated"]) == (production.store.blobs, False)
    assert production.store.active_version() is None
    manifest = production.store.read_manifest("v1")
    for name, array in tiny_arrays(0).items():
        np.testing.assert_array_equal(production.store.read_array(manifest, name), array)
    again = production.call("load", tmp_path / "v1.tar").result
    assert (again["was_there"], again["sent_chunks"]) == (True, 0)


@pytest.mark.parametrize(("source", "to"), [("redis", "folder"), ("folder", "redis"), ("memory", "memory")])
def test_what_is_copied_is_what_was_published(side: Any, source: str, to: str) -> None:
    staging, production = side("staging", source), side("production", to)
    write_tiny(staging.store, "v1")
    there = ("--to", production.url, "--to-namespace", production.namespace, "--to-blobs-url", production.blobs_url)
    copied = staging.call("copy", "v1", *there).result
    assert (copied["sent_chunks"], copied["was_there"], copied["blobs"]) == (2, False, production.store.blobs)
    manifest = production.store.read_manifest("v1")
    for name, array in tiny_arrays(0).items():
        np.testing.assert_array_equal(production.store.read_array(manifest, name), array)
    assert staging.call("copy", "v1", *there).result["sent_chunks"] == 0


def test_a_loaded_release_answers_alike(staging: Side, own_redis: Any, tmp_path: Path, job: Any) -> None:
    """The frozen release through its own decoder, from a Redis that knew nothing of it."""
    version = put_frozen(staging.store)
    staging.call("save", "active", tmp_path / "it.tar")
    own_redis.start()
    with redis.Redis.from_url(own_redis.url) as client:
        empty = Side(client, own_redis.url, "mmgrec", "redis", job)
        loaded = empty.call("load", tmp_path / "it.tar", "--activate").result
        assert (loaded["version"], loaded["activated"], loaded["active_before"]) == (version, True, None)
        assert empty.store.active_version() == version
        assert answers(empty.store, version, "mmgrec") == answers(staging.store, version, "mmgrec")
        assert client.get(empty.keys.lock("publish")) is None


def test_active_and_canary_are_versions(staging: Side, tmp_path: Path) -> None:
    for number in (1, 2):
        write_tiny(staging.store, f"v{number}", number)
    assert "has no main release" in refusal(staging.call("save", "active", tmp_path / "x.tar"))
    staging.store.activate("v1")
    assert "has no canary" in refusal(staging.call("save", "canary", tmp_path / "x.tar"))
    staging.store.activate("v2", "canary", 0.1)
    assert staging.call("save", "active", tmp_path / "x.tar").result["version"] == "v1"
    assert staging.call("save", "canary", tmp_path / "x.tar").result["version"] == "v2"
    assert "release v9 is not in namespace" in refusal(staging.call("save", "v9", tmp_path / "y.tar"))
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar"]


def test_another_release_under_the_same_version_is_refused(
    staging: Side, production: Side, tmp_path: Path, client: redis.Redis
) -> None:
    write_tiny(staging.store, "v1", 1)
    write_tiny(production.store, "v1", 2)
    before = production.store.manifest_bytes("v1"), chunk_keys(client, production.keys)
    staging.call("save", "v1", tmp_path / "v1.tar")
    message = refusal(production.call("load", tmp_path / "v1.tar", "--activate"))
    assert "another release is there already under version v1" in message
    assert "python -m offline releases delete v1" in message
    assert (production.store.manifest_bytes("v1"), chunk_keys(client, production.keys)) == before
    assert production.store.active_version() is None


def test_loading_again_mends_what_was_damaged(staging: Side, tmp_path: Path, client: redis.Redis) -> None:
    written = write_tiny(staging.store, "v1")
    staging.call("save", "v1", tmp_path / "v1.tar")
    (address,) = written.arrays["shared"].addresses
    client.setrange(staging.keys.blob(*address), 5, b"\xff")
    assert "array shared: chunk 0 has sha256" in refusal(staging.call("verify", "v1"))
    loaded = staging.call("load", tmp_path / "v1.tar").result
    assert (loaded["was_there"], loaded["sent_chunks"], loaded["sent_bytes"]) == (True, 1, 12_000)
    assert staging.call("verify", "v1").result == {"version": "v1", "whole": True, "signature_checked": False}


def test_chunks_that_are_there_are_not_sent(staging: Side, production: Side) -> None:
    write_tiny(staging.store, "v1", 1)
    write_tiny(staging.store, "v2", 2)
    there = ("--to", production.url, "--to-namespace", production.namespace)
    assert staging.call("copy", "v1", *there).result["sent_bytes"] == 12_000 + 12_288
    assert staging.call("copy", "v2", *there, "--activate").result["sent_bytes"] == 12_288  # "shared" is there
    third = staging.call("copy", "v1", *there, "--activate").result
    assert (third["active_before"], third["sent_bytes"]) == ("v2", 0)
    assert production.store.active_version() == "v1"


def test_a_corrupt_source_is_named_and_nothing_is_to_be_seen(
    staging: Side, production: Side, tmp_path: Path, client: redis.Redis
) -> None:
    written = write_tiny(staging.store, "v1")
    client.delete(staging.keys.blob(written.arrays["own"].chunks[0], 0))
    for arguments in (
        ("save", "v1", tmp_path / "v1.tar"),
        ("copy", "v1", "--to", production.url, "--to-namespace", production.namespace, "--activate"),
    ):
        assert "array own: chunk 0" in refusal(staging.call(*arguments))
    assert (production.store.versions(), list(tmp_path.iterdir())) == ([], [])


@pytest.mark.parametrize("version", ["../x", "", "a b", "x" * 101, "v\n1", "*", None, 5])
def test_a_version_that_is_none_is_refused(
    staging: Side, production: Side, tmp_path: Path, version: Any, client: redis.Redis
) -> None:
    write_tiny(staging.store, "v1")
    raw = json.dumps(json.loads(staging.store.manifest_bytes("v1")) | {"version": version}).encode()
    with pytest.raises(BadInputError, match="which is no version"):
        receive_release(raw, lambda chunk: b"", production.store, Keys(None))
    assert list(client.scan_iter(match=f"{production.namespace}:*")) == []


def test_files_that_are_none(staging: Side, tmp_path: Path) -> None:
    assert "cannot be read (No such file" in refusal(staging.call("load", tmp_path / "nothing.tar"))
    assert "is no file" in refusal(staging.call("load", tmp_path))
    (tmp_path / "empty").write_bytes(b"")
    assert "is no whole release file" in refusal(staging.call("load", tmp_path / "empty"))
    write_tiny(staging.store, "v1")
    assert "FILE" in refusal(staging.call("save", "v1", tmp_path))
    assert "FILE" in refusal(staging.call("save", "v1", tmp_path / "empty" / "v1.tar"))


def test_flags_before_the_command_are_not_forgotten(staging: Side, tmp_path: Path) -> None:
    """`releases` has the flags of the list; a command behind it would not see them."""
    ended = staging.job("releases", "--namespace", staging.namespace, "verify", "v1")
    assert refusal(ended) == "--namespace stands before verify; write it behind it"


def test_while_another_publishes_nothing_is_loaded(staging: Side, production: Side, tmp_path: Path) -> None:
    write_tiny(staging.store, "v1")
    staging.call("save", "v1", tmp_path / "v1.tar")
    production.client.set(production.keys.lock("publish"), "somebody", ex=60)
    for ended in moved(staging, production, tmp_path / "v1.tar"):
        assert (ended.code, "another publish runs" in ended.err) == (4, True)
    assert production.store.versions() == []


def test_a_redis_that_is_full_takes_nothing(staging: Side, own_redis: Any, tmp_path: Path, job: Any) -> None:
    put_frozen(staging.store)
    staging.call("save", "active", tmp_path / "it.tar")
    own_redis.start()
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory", int(client.info("memory")["used_memory"]) + 100_000)
        full = Side(client, own_redis.url, "mmgrec", "redis", job)
        ended = full.call("load", tmp_path / "it.tar")
        assert (ended.code, "nothing was written" in ended.err) == (1, True)
        assert client.keys("*") == []


def test_a_production_that_is_away_says_so(staging: Side) -> None:
    write_tiny(staging.store, "v1")
    ended = staging.call("copy", "v1", "--to", "redis://user:secret@127.0.0.1:1/0")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "is not reachable" in ended.err
    assert "start it, or correct --to" in ended.err
    assert "--redis-url" not in ended.err
    assert "secret" not in ended.err
    assert "the Redis URL of --to cannot be used" in staging.call("copy", "v1", "--to", "nowhere:secret").err
    assert "--to is empty" in refusal(staging.call("copy", "v1", "--to", ""))


KILLED = """
import os, signal, sys
from offline.__main__ import main
from service.contract.blob_store import RedisBlobs
left, write = int(sys.argv.pop(1)), RedisBlobs.write
def write_some(self, address, piece):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, address, piece)
RedisBlobs.write = write_some
main()
"""


def killed(after: int, *arguments: object) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MMGREC_")}
    command = [sys.executable, "-c", KILLED, str(after), "releases", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_killed_midway_it_goes_on_where_it_was(staging: Side, production: Side, tmp_path: Path) -> None:
    version = put_frozen(staging.store)
    staging.call("save", version, tmp_path / "it.tar")
    flags = ("--redis-url", staging.url, "--namespace")
    killed(5, "load", tmp_path / "it.tar", "--activate", *flags, production.namespace)
    assert (production.store.versions(), production.store.active_version()) == ([], None)
    production.client.delete(production.keys.lock("publish"))  # as if its time were over
    there = ("--to", production.url, "--to-namespace", production.namespace, "--activate")
    killed(3, "copy", version, *there, *flags, staging.namespace)
    assert (production.store.versions(), production.store.active_version()) == ([], None)
    production.client.delete(production.keys.lock("publish"))
    num_chunks = len(chunk_keys(staging.client, staging.keys))
    assert 0 < staging.call("copy", version, *there).result["sent_chunks"] <= num_chunks - 5
    production.store.verify(version)
    assert production.store.active_version() == version
