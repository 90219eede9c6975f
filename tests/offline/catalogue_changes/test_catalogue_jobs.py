"""`add-items` and `remove-items` as they are called: what they print, and how they end."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore

SIZE = 60


@pytest.fixture
def call(job: Any, redis_url: str, namespace: str) -> Callable[..., Any]:
    return lambda *arguments: job(*arguments, "--redis-url", redis_url, "--namespace", namespace)


def refusal(ended: Any) -> str:
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1), ended
    return str(ended.err).removeprefix("error: ").rstrip()


def test_add_and_remove(
    call: Any, served: str, store: ReleaseStore, new_items: Callable[..., Path], tmp_path: Path
) -> None:
    folder = new_items(tmp_path / "new", "even", "odd")
    added = call("add-items", "--data", folder).result
    assert (added["base"], added["added"], added["items"], added["moved"]) == (served, 2, SIZE + 2, 0)
    assert store.active_version() == added["version"]
    steps = {"read the release", "read the new items", "encode them", "gate", "write and activate"}
    assert added["seconds"].keys() == steps
    again = call("add-items", "--data", folder)
    assert json.loads(again.out) == {"version": None, "base": added["version"], "added": 0, "items": SIZE + 2}
    assert "nothing to add" in again.err
    removed = call("remove-items", "--item", "new-0", "--item", "item-07").result
    assert (removed["base"], removed["removed"], removed["items"]) == (added["version"], 2, SIZE)
    (tmp_path / "ids").write_text("new-1\n")
    assert call("remove-items", "--items", tmp_path / "ids").result["items"] == SIZE - 1
    assert call("rollback").result["version"] == removed["version"]
    other = call("add-items", "--data", folder, "--version", served).result
    assert (other["base"], other["added"]) == (served, 2)
    assert store.read_manifest(other["version"]).parent == removed["version"]  # where a rollback goes


def test_a_canary(call: Any, served: str, new_items: Callable[..., Path], tmp_path: Path) -> None:
    folder = new_items(tmp_path / "new", "even")
    assert "needs a --share of the users" in refusal(call("add-items", "--data", folder, "--arm", "canary"))
    assert "--share is for --arm canary" in refusal(call("remove-items", "--item", "item-00", "--share", "0.1"))
    version = call("add-items", "--data", folder, "--arm", "canary", "--share", "0.1").result["version"]
    arms = {"main": {"version": served, "share": 0.9}, "canary": {"version": version, "share": 0.1}}
    assert call("releases").result["arms"] == arms


def test_what_is_missing_or_too_much(call: Any, served: str, tmp_path: Path) -> None:
    assert refusal(call("remove-items")) == "give either --item ID, as often as needed, or --items FILE"
    both = call("remove-items", "--item", "item-00", "--items", tmp_path / "ids")
    assert refusal(both) == "give either --item ID, as often as needed, or --items FILE"
    assert "release 20200101 is not in namespace" in refusal(
        call("remove-items", "--item", "item-00", "--version", "20200101")
    )
    assert "no such folder" in refusal(call("add-items", "--data", tmp_path / "nowhere"))


@pytest.mark.parametrize("arguments", [("add-items", "--data", "."), ("remove-items", "--item", "item-00")])
def test_only_one_job_changes_releases_at_a_time(
    call: Any, served: str, client: redis.Redis, keys: RedisKeys, arguments: tuple[str, ...]
) -> None:
    client.set(keys.lock("publish"), "another process", ex=60)
    ended = call(*arguments)
    assert (ended.code, ended.out) == (4, "")
    assert "another publish runs in namespace" in ended.err


def test_a_signing_key(
    call: Any, run: Any, store: ReleaseStore, new_items: Callable[..., Path], tmp_path: Path
) -> None:
    key, folder = tmp_path / "key", new_items(tmp_path / "new", "even")
    key.write_text("the-key-of-this-test")
    call("publish", "--run", run.folder)
    said = refusal(call("add-items", "--data", folder, "--signing-key-file", key))
    assert "sign" in said
    call("publish", "--run", run.folder, "--signing-key-file", key)
    version = call("add-items", "--data", folder, "--signing-key-file", key).result["version"]
    assert store.read_manifest(version).signature is not None
