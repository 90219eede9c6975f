"""Pointers of the arms on a real Redis: every change is whole, and goes back in one call."""

import json
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import redis

from service.contract.arm_pointers import ArmPointers, ReleaseMissingError
from service.contract.blobs import CorruptBlobError
from service.contract.manifest import Manifest
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore
from service.contract.signatures import SignatureError
from tests.service.conftest import MODEL

Write = Callable[..., None]


def write_release(store: ReleaseStore, version: str, parent: str | None = None) -> None:
    manifest = Manifest(
        version=version,
        created="2026-11-21T00:00:00Z",
        parent=parent,
        dataset="shop",
        model=MODEL,
        arrays=store.write_arrays({"a": np.arange(len(version) * 100)}),
        metrics={},
        gate={},
        blobs=store.blobs,
    )
    store.write_manifest(manifest)


@pytest.fixture
def write(store: ReleaseStore) -> Write:
    return lambda version, parent=None: write_release(store, version, parent)


def served(store: ReleaseStore) -> dict[str, Any]:
    return {arm: tuple(pointer) for arm, pointer in store.arms.all().items()}


def test_a_canary_stands_beside_the_main_release(store: ReleaseStore, write: Write) -> None:
    write("v1")
    write("v2", "v1")
    store.activate("v1")
    store.activate("v2", "canary", 0.1)
    assert served(store) == {"main": ("v1", 0.9), "canary": ("v2", 0.1)}
    assert store.active_version() == "v1"
    write("v3", "v1")
    store.activate("v3")  # the canary stays when the main release changes
    assert served(store) == {"main": ("v3", 0.9), "canary": ("v2", 0.1)}


def test_promoting_and_changing_the_share(store: ReleaseStore, write: Write) -> None:
    write("v1")
    write("v2", "v1")
    store.activate("v1")
    store.activate("v2", "canary", 0.1)
    assert store.arms.change_share(0.25) == "v2"
    assert served(store) == {"main": ("v1", 0.75), "canary": ("v2", 0.25)}
    assert store.arms.promote() == "v2"
    assert served(store) == {"main": ("v2", 1.0)}
    assert store.rollback() == "v1"
    assert served(store) == {"main": ("v1", 1.0)}


def test_a_canary_needs_a_main_release_and_a_share(store: ReleaseStore, write: Write) -> None:
    write("v1")
    with pytest.raises(
        ReleaseMissingError, match="has no main release; publish one: python -m offline publish --run DIR"
    ):
        store.activate("v1", "canary", 0.1)
    store.activate("v1")
    for share in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="must be above 0 and below 1"):
            store.activate("v1", "canary", share)
        with pytest.raises(ValueError, match="must be above 0 and below 1"):
            store.arms.change_share(share)
    assert served(store) == {"main": ("v1", 1.0)}


def test_without_a_canary_there_is_nothing_to_promote(store: ReleaseStore, write: Write) -> None:
    write("v1")
    store.activate("v1")
    for change in (store.arms.promote, lambda: store.arms.change_share(0.5), lambda: store.rollback("canary")):
        with pytest.raises(ReleaseMissingError, match=r"has no canary; publish one: .* --arm canary --share 0.1"):
            change()
    assert served(store) == {"main": ("v1", 1.0)}


def test_rolling_back_goes_from_parent_to_parent(store: ReleaseStore, write: Write) -> None:
    for version, parent in (("v1", None), ("v2", "v1"), ("v3", "v2")):
        write(version, parent)
        store.activate(version)
    assert [store.rollback(), store.rollback()] == ["v2", "v1"]
    with pytest.raises(ReleaseMissingError, match=r"no earlier release to go back to .*active: v1"):
        store.rollback()
    assert store.rollback(version="v3") == "v3"
    assert store.versions() == ["v1", "v2", "v3"]


def test_rolling_a_canary_back(store: ReleaseStore, write: Write) -> None:
    write("v1")
    for version in ("v2", "v3"):
        write(version, "v1")
    store.activate("v1")
    store.activate("v3", "canary", 0.2)
    assert store.rollback("canary", "v2") == "v2"
    assert served(store) == {"main": ("v1", 0.8), "canary": ("v2", 0.2)}
    assert store.rollback("canary") == "v1"  # what its users get now
    assert served(store) == {"main": ("v1", 1.0)}


@pytest.mark.parametrize("arm", ["main", "canary"])
def test_what_cannot_be_served_is_not_rolled_back_to(
    store: ReleaseStore, write: Write, client_of_redis: redis.Redis, keys: RedisKeys, arm: str
) -> None:
    write("an earlier one")
    write("v2", "an earlier one")
    store.activate("v2")
    store.activate("v2", "canary", 0.5)
    before = served(store)
    address = next(iter(store.read_manifest("an earlier one").arrays["a"].addresses))
    piece = client_of_redis.getdel(keys.blob(*address))
    with pytest.raises(CorruptBlobError, match=r"array a: chunk 0 .* is missing"):
        store.rollback(arm, "an earlier one")
    client_of_redis.set(keys.blob(*address), piece[:-1] + b"\xff")
    with pytest.raises(CorruptBlobError, match="array a: chunk 0 has sha256"):
        store.rollback(arm, "an earlier one")
    with pytest.raises(ReleaseMissingError, match="release v9 is not in namespace"):
        store.rollback(arm, "v9")
    assert served(store) == before


def test_services_are_told_of_every_change(
    store: ReleaseStore, write: Write, client_of_redis: redis.Redis, keys: RedisKeys
) -> None:
    write("v1")
    write("v2", "v1")
    with client_of_redis.pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe(keys.releases)
        channel.get_message(timeout=5)
        for change in (
            lambda: store.activate("v1"),
            lambda: store.activate("v2", "canary", 0.1),
            lambda: store.arms.change_share(0.5),
            store.arms.promote,
            store.rollback,
        ):
            change()
            assert channel.get_message(timeout=5)["channel"] == keys.releases.encode()


def test_a_reader_never_sees_half_a_change(store: ReleaseStore, write: Write) -> None:
    """Shares always make 1, while canaries come and go as fast as they can."""
    write("v1")
    write("v2", "v1")
    store.activate("v1")
    ended = threading.Event()

    def change() -> None:
        for _ in range(150):
            store.activate("v2", "canary", 0.3)
            store.arms.promote()
            store.arms.set_main("v1")
        ended.set()

    changing = threading.Thread(target=change)
    changing.start()
    seen = set()
    while not ended.is_set():
        pointers = store.arms.all()
        assert sum(pointer.share for pointer in pointers.values()) == pytest.approx(1)
        seen.add(tuple(sorted((arm, pointer.version) for arm, pointer in pointers.items())))
    changing.join()
    whole = {(("main", "v1"),), (("main", "v2"),), (("canary", "v2"), ("main", "v1"))}
    assert seen <= whole


def test_changes_at_once_are_made_one_after_the_other(store: ReleaseStore, write: Write) -> None:
    """None of them is lost: a change that was overtaken starts anew from what it finds."""
    write("v1")
    write("v2", "v1")
    store.activate("v1")
    store.activate("v2", "canary", 0.5)

    def change_both(number: int) -> None:
        for step in range(40):
            if number:
                store.arms.change_share((step + 1) / 100)
            else:
                store.arms.set_main(f"main {step}")

    threads = [threading.Thread(target=change_both, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert served(store) == {"main": ("main 39", 0.6), "canary": ("v2", 0.4)}


@pytest.mark.parametrize("arm", ["main", "canary"])
def test_publishing_cures_a_pointer_that_cannot_be_read(
    store: ReleaseStore, write: Write, client_of_redis: redis.Redis, keys: RedisKeys, arm: str
) -> None:
    write("v1")
    store.activate("v1")
    client_of_redis.hset(keys.active, arm, "{}")
    store.activate("v1")
    assert served(store) == {"main": ("v1", 1.0)}


def test_fields_that_are_no_arm_are_left_alone(
    store: ReleaseStore, write: Write, client_of_redis: redis.Redis, keys: RedisKeys
) -> None:
    client_of_redis.hset(keys.active, "of a later version", "x")
    write("v1")
    store.activate("v1")
    assert ArmPointers(client_of_redis, keys).texts() == {"main": json.dumps({"version": "v1", "share": 1.0}).encode()}
    assert client_of_redis.hget(keys.active, "of a later version") == b"x"


def test_signing_and_verifying(client_of_redis: redis.Redis, keys: RedisKeys) -> None:
    key, other = b"the key of this test", b"the key of another test"
    signing = ReleaseStore(client_of_redis, keys, signing_key=key)
    write_release(signing, "v1")
    write_release(ReleaseStore(client_of_redis, keys), "v2", "v1")
    strict = ReleaseStore(client_of_redis, keys, verification_keys=[other, key])
    strict.activate("v1")
    strict.verify("v1")
    with pytest.raises(SignatureError, match="not signed"):
        strict.activate("v2")
    with pytest.raises(SignatureError, match="none of the 1 keys"):
        ReleaseStore(client_of_redis, keys, verification_keys=[other]).read_manifest("v1")
    assert strict.active_version() == "v1"
