"""`gc` and `releases delete`: what is served or a rollback needs stays; chunks go when nobody names them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import redis

from offline.errors import LockedError
from offline.retention import SharedPlaces, outdated, plan_removal, remove
from tests.offline.releases.tiny_releases import (
    OWN_BYTES,
    Side,
    answers,
    chain,
    chunk_keys,
    gc,
    put_frozen,
    refusal,
    require_whole,
    write_tiny,
)

ROOT = Path(__file__).parents[3]


def test_the_last_stay_and_the_others_go_with_what_only_they_had(staging: Side, client: redis.Redis) -> None:
    chain(staging, 4)
    before = len(chunk_keys(client, staging.keys))
    result = gc(staging, "--keep", 2).result
    assert (result["removed"], result["kept"]) == (["v1", "v2"], ["v3", "v4"])
    assert (result["removed_chunks"], result["freed_bytes"]) == (2, 2 * OWN_BYTES)
    assert before - len(chunk_keys(client, staging.keys)) == 2
    assert staging.store.versions() == ["v3", "v4"]
    require_whole(staging)
    assert gc(staging, "--keep", 2).result["removed_chunks"] == 0
    assert client.get(staging.keys.lock("publish")) is None


def test_five_stay_without_a_word(staging: Side) -> None:
    chain(staging, 7)
    assert gc(staging).result["kept"] == ["v3", "v4", "v5", "v6", "v7"]


def test_a_dry_run_says_the_same_and_removes_nothing(staging: Side, client: redis.Redis) -> None:
    chain(staging, 3)
    before = set(client.scan_iter(match=f"{staging.namespace}:*"))
    dry = gc(staging, "--keep", 1, "--dry-run").result
    assert set(client.scan_iter(match=f"{staging.namespace}:*")) == before
    assert dry | {"dry_run": False} == gc(staging, "--keep", 1).result


def test_what_is_served_and_what_a_rollback_needs_stays(staging: Side) -> None:
    """The main arm is back at v3, and a canary over v1 is tried: both stay, what is below each, and the newest."""
    chain(staging, 6)
    staging.store.activate("v3")
    write_tiny(staging.store, "v0-canary", 40, "v1")
    staging.store.activate("v0-canary", "canary", 0.1)
    result = gc(staging, "--keep", 1).result
    assert (result["removed"], result["kept"]) == (["v4", "v5"], ["v0-canary", "v1", "v2", "v3", "v6"])
    require_whole(staging)
    assert staging.store.rollback() == "v2"  # one step works
    assert gc(staging, "--keep", 1).result["removed"] == ["v3"]  # v1 is where the next step goes


def test_a_release_from_elsewhere_keeps_what_was_before_it(staging: Side) -> None:
    """The parent of a loaded release may not be here; then the newest older one is what operators go back to."""
    chain(staging, 3)
    write_tiny(staging.store, "v9", 9, parent="of staging")
    staging.store.activate("v9")
    assert gc(staging, "--keep", 1).result["kept"] == ["v3", "v9"]


def test_a_served_release_answers_on(staging: Side) -> None:
    version = put_frozen(staging.store)
    before = answers(staging.store, version, staging.namespace)
    for number in range(3):
        write_tiny(staging.store, f"2020010{number}", number)
    assert gc(staging, "--keep", 1).result["removed"] == ["20200100", "20200101"]  # the third: a rollback goes there
    assert answers(staging.store, version, staging.namespace) == before


def test_chunks_of_a_publisher_that_died_go(staging: Side, client: redis.Redis) -> None:
    chain(staging, 1)
    staging.store.write_arrays({"half": np.arange(10)})
    result = gc(staging).result
    assert (result["removed"], result["removed_chunks"], result["freed_bytes"]) == ([], 1, 80)


def test_while_somebody_publishes_nothing_is_removed(staging: Side, client: redis.Redis) -> None:
    chain(staging, 3)
    client.set(staging.keys.lock("publish"), "somebody", ex=60)
    for ended in (gc(staging, "--keep", 1), staging.call("delete", "v1")):
        assert (ended.code, "another publish runs" in ended.err) == (4, True)
    assert len(staging.store.versions()) == 3


def test_whoever_lost_the_lock_removes_nothing_more(staging: Side) -> None:
    chain(staging, 4)
    left = 2

    def require() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise LockedError("lost")

    removal = plan_removal(staging.store, outdated(staging.store, 1), SharedPlaces())
    with pytest.raises(LockedError):
        remove(staging.store, removal, require)
    assert staging.store.versions() == ["v3", "v4"]
    require_whole(staging)


@pytest.mark.parametrize("raw", [b"{", b"[]", b'{"arrays": 5}', b"[" * 100_000])
def test_a_manifest_that_cannot_be_read_keeps_every_chunk(staging: Side, client: redis.Redis, raw: bytes) -> None:
    chain(staging, 3)
    client.set(staging.keys.release("v9"), raw)
    before = chunk_keys(client, staging.keys)
    message = refusal(gc(staging, "--keep", 1))
    assert "the manifest of release v9 cannot be read" in message
    assert "python -m offline releases delete v9" in message
    assert (chunk_keys(client, staging.keys), len(staging.store.versions())) == (before, 4)
    assert staging.call("delete", "v9").result["removed"] == ["v9"]
    assert gc(staging, "--keep", 1).result["removed"] == ["v1"]


def test_a_release_of_a_later_format_keeps_its_chunks(staging: Side, client: redis.Redis) -> None:
    """Of another version of the jobs, and not to be read here; what it names is to be seen all the same."""
    chain(staging, 2)
    spec = staging.store.write_arrays({"theirs": np.arange(10)})["theirs"]
    later = {"format_version": 99, "version": "v9", "arrays": {"theirs": {"chunks": spec.chunks, "more": 1}}}
    client.set(staging.keys.release("v9"), json.dumps(later))
    result = gc(staging, "--keep", 1).result
    assert (result["removed"], result["kept"], result["removed_chunks"]) == ([], ["v1", "v2", "v9"], 0)


def test_a_pointer_that_cannot_be_read_keeps_everything(staging: Side, client: redis.Redis) -> None:
    chain(staging, 3)
    client.hset(staging.keys.active, "main", "{")
    for ended in (gc(staging, "--keep", 1), staging.call("delete", "v1")):
        assert "the pointer of arm main cannot be read" in refusal(ended)
    assert len(staging.store.versions()) == 3


def test_delete(staging: Side, client: redis.Redis) -> None:
    chain(staging, 4)
    assert "release v4 stays: arm main serves it" in refusal(staging.call("delete", "v4"))
    assert "release v3 stays: a rollback of arm main goes there" in refusal(staging.call("delete", "v3"))
    assert "release v4 stays: arm main serves it" in refusal(staging.call("delete", "active"))
    assert "release v9 is not in namespace" in refusal(staging.call("delete", "v9"))
    assert staging.call("delete", "v1", "--dry-run").result["removed"] == ["v1"]
    assert len(staging.store.versions()) == 4
    result = staging.call("delete", "v1").result
    assert (result["removed"], result["freed_bytes"]) == (["v1"], OWN_BYTES)
    assert staging.store.versions() == ["v2", "v3", "v4"]
    require_whole(staging)


def test_keep_must_be_one_at_least(staging: Side) -> None:
    assert gc(staging, "--keep", 0).code == 2


KILLED = """
import os, signal, sys
from offline.__main__ import main
from service.contract.blob_store import RedisBlobs
from service.contract.release_store import ReleaseStore
left = int(sys.argv.pop(1))
def counted(real):
    def some(self, what):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        real(self, what)
    return some
RedisBlobs.remove, ReleaseStore.remove_manifest = counted(RedisBlobs.remove), counted(ReleaseStore.remove_manifest)
main()
"""


@pytest.mark.parametrize("after", [1, 4])
def test_killed_midway_nothing_is_harmed_and_the_next_one_ends_it(
    staging: Side, client: redis.Redis, after: int
) -> None:
    """After one of three manifests, and after one of three chunks."""
    chain(staging, 5)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MMGREC_")}
    command = [sys.executable, "-c", KILLED, str(after), "gc", "--keep", "1", *staging.flags]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    require_whole(staging)
    assert staging.store.active_version() == "v5"
    client.delete(staging.keys.lock("publish"))  # as if its time were over
    gc(staging, "--keep", 1).result  # noqa: B018
    assert staging.store.versions() == ["v4", "v5"]
    assert len(chunk_keys(client, staging.keys)) == 3
    require_whole(staging)
