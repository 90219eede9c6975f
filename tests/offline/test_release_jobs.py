"""`publish`, `releases`, `promote`, `rollback` as they are called: arms, places of blobs, signatures, refusals."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from offline.errors import LockedError
from offline.publish import publish
from offline.release_jobs import signing_key
from offline.run_folder import RunFolder
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore

KEY = "the-key-of-this-test"


@pytest.fixture
def store(client: redis.Redis, namespace: str) -> ReleaseStore:
    return ReleaseStore(client, RedisKeys(namespace))


@pytest.fixture
def call(job: Any, redis_url: str, namespace: str) -> Callable[..., Any]:
    return lambda *arguments: job(*arguments, "--redis-url", redis_url, "--namespace", namespace)


def refusal(ended: Any) -> str:
    """What a job says when it ends for bad input: one line."""
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1), ended
    return str(ended.err).removeprefix("error: ").rstrip()


def test_publish_list_and_roll_back(call: Any, run: RunFolder, namespace: str) -> None:
    first = call("publish", "--run", run.folder).result["version"]
    assert "no earlier release to go back to" in refusal(call("rollback"))
    second = call("publish", "--run", run.folder).result["version"]
    listed = call("releases").result
    assert [(entry["version"], entry["active"]) for entry in listed["releases"]] == [(first, False), (second, True)]
    assert listed["arms"] == {"main": {"version": second, "share": 1.0}}
    entry = listed["releases"][0]
    assert entry["recall@20"] == run.read_json("metrics.json")["recall@20"]
    assert (entry["blobs"], entry["signed"]) == ("redis", False)
    assert call("rollback").result == {"version": first}
    assert call("rollback", second).result == {"version": second}
    unknown = f"release 20200101 is not in namespace {namespace}; see what is: python -m offline releases"
    assert refusal(call("rollback", "20200101")) == unknown
    assert [entry["active"] for entry in call("releases").result["releases"]] == [False, True]


def test_a_canary_from_publish_to_promotion(call: Any, run: RunFolder) -> None:
    first = call("publish", "--run", run.folder).result["version"]
    canary = call("publish", "--run", run.folder, "--arm", "canary", "--share", 0.1).result["version"]
    arms = {"main": {"version": first, "share": 0.9}, "canary": {"version": canary, "share": 0.1}}
    assert call("releases").result["arms"] == arms
    assert call("promote", "--share", 0.5).result == {"version": canary}
    assert call("releases").result["arms"]["main"] == {"version": first, "share": 0.5}
    assert call("promote").result == {"version": canary}
    assert call("releases").result["arms"] == {"main": {"version": canary, "share": 1.0}}
    assert call("rollback").result == {"version": first}  # the canary was published over it


def test_a_canary_is_withdrawn_in_one_call(call: Any, run: RunFolder) -> None:
    first = call("publish", "--run", run.folder).result["version"]
    call("publish", "--run", run.folder, "--arm", "canary", "--share", "0.1")
    assert call("rollback", "--arm", "canary").result == {"version": first}
    assert call("releases").result["arms"] == {"main": {"version": first, "share": 1.0}}
    for arguments in (["rollback", "--arm", "canary"], ["promote"], ["promote", "--share", "0.2"]):
        assert "has no canary; publish one" in refusal(call(*arguments))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--arm", "canary"], "--arm canary needs a --share of the users, such as 0.1"),
        (["--share", "0.1"], "--share is for --arm canary; the main arm has what the canary leaves"),
        (["--arm", "canary", "--share", "0"], "--share 0 of a canary must be above 0 and below 1, such as 0.1"),
        (["--arm", "canary", "--share", "1.5"], "--share 1.5 of a canary must be above 0 and below 1, such as 0.1"),
        (["--arm", "canary", "--share", "nan"], "--share nan of a canary must be above 0 and below 1, such as 0.1"),
    ],
)
def test_shares_that_make_no_sense(
    call: Any, run: RunFolder, store: ReleaseStore, flags: list[str], message: str
) -> None:
    assert refusal(call("publish", "--run", run.folder, *flags)) == message
    assert store.versions() == []


def test_a_canary_without_a_main_release_writes_nothing(call: Any, run: RunFolder, store: ReleaseStore) -> None:
    message = refusal(call("publish", "--run", run.folder, "--arm", "canary", "--share", "0.1"))
    assert "has no main release; publish one: python -m offline publish --run DIR" in message
    assert store.versions() == []


def test_a_release_that_lost_bytes_is_neither_promoted_nor_rolled_back_to(
    call: Any, run: RunFolder, store: ReleaseStore, client: redis.Redis, namespace: str
) -> None:
    first = call("publish", "--run", run.folder).result["version"]
    call("publish", "--run", run.folder)
    call("publish", "--run", run.folder, "--arm", "canary", "--share", "0.1")
    before = call("releases").result["arms"]
    address = next(iter(store.read_manifest(first).arrays["decoder.onnx"].addresses))
    client.delete(RedisKeys(namespace).blob(*address))
    for arguments in (["rollback"], ["promote"], ["rollback", first]):
        assert "array decoder.onnx: chunk 0" in refusal(call(*arguments))
    assert call("releases").result["arms"] == before
    call("publish", "--run", run.folder)  # the cure, also for the others, as they share their chunks
    assert call("rollback", first).result == {"version": first}


def test_blobs_in_a_folder(call: Any, run: RunFolder, client: redis.Redis, namespace: str, tmp_path: Path) -> None:
    folder = tmp_path / "blobs"
    version = call("publish", "--run", run.folder, "--blobs-url", folder).result["version"]
    assert list(client.scan_iter(match=f"{namespace}:blob:*")) == []
    (entry,) = call("releases").result["releases"]
    assert entry["blobs"] == f"file://{folder}"
    ReleaseStore(client, RedisKeys(namespace), blobs_url=str(tmp_path)).verify(version)
    assert "MMGREC_BLOBS_URL allows redis: set it to that URL" in refusal(call("rollback", version))
    assert call("rollback", version, "--blobs-url", folder).result == {"version": version}
    next((folder / f"{namespace}-blobs").iterdir()).unlink()
    assert "is missing; publish the run again" in refusal(call("rollback", version, "--blobs-url", folder))


def test_a_place_that_cannot_be_used(call: Any, run: RunFolder, tmp_path: Path, store: ReleaseStore) -> None:
    assert "blobs cannot be at 'blobs'" in refusal(call("publish", "--run", run.folder, "--blobs-url", "blobs"))
    (tmp_path / "a file").write_text("")
    (tmp_path / "file").write_text("")
    ended = call("publish", "--run", run.folder, "--blobs-url", tmp_path / "file")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "cannot be used" in ended.err
    assert store.versions() == []


def test_a_full_redis_is_named_and_nothing_is_published(
    job: Any, run: RunFolder, own_redis: Any, namespace: str
) -> None:
    own_redis.start()
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory", int(client.info("memory")["used_memory"]) + 100_000)
        ended = job("publish", "--run", run.folder, "--redis-url", own_redis.url, "--namespace", namespace)
        assert (ended.code, ended.err.count("\n")) == (1, 1)
        assert "bytes more in Redis" in ended.err
        assert "nothing was written" in ended.err
        assert client.keys("*") == []


def test_a_signed_release(
    call: Any, run: RunFolder, client: redis.Redis, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_text(KEY + "\n")
    version = call("publish", "--run", run.folder, "--signing-key-file", tmp_path / "key").result["version"]
    monkeypatch.setenv("MMGREC_SIGNING_KEY", KEY)
    again = call("publish", "--run", run.folder).result["version"]
    strict = ReleaseStore(client, RedisKeys(namespace), verification_keys=[KEY.encode()])
    for each in (version, again):
        assert strict.read_manifest(each).signature is not None
    assert [entry["signed"] for entry in call("releases").result["releases"]] == [True, True]


def test_where_the_signing_key_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    file.write_text(f" {KEY}\n")
    assert signing_key(None) is None
    assert signing_key(file) == KEY.encode()
    monkeypatch.setenv("MMGREC_SIGNING_KEY", KEY + "2")
    assert signing_key(None) == f"{KEY}2".encode()
    monkeypatch.setenv("MMGREC_SIGNING_KEY", "")
    assert signing_key(None) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "give one signing key, not 0"),
        (b"short", "the signing key cannot be used: give keys of at least 16 characters"),
        (b"the-key-of-this-test,another-key-of-this-test", "give one signing key, not 2"),
        (b"\xff\xfe" * 20, "the signing key cannot be used: it is no text in UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_signing_key_that_cannot_be_used(
    call: Any, run: RunFolder, tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    found = refusal(call("publish", "--run", run.folder, "--signing-key-file", tmp_path / "key"))
    assert message in found
    assert "short" not in found


def test_two_signing_keys_are_one_too_many(call: Any, run: RunFolder, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "key").write_text(KEY)
    monkeypatch.setenv("MMGREC_SIGNING_KEY", KEY)
    message = refusal(call("publish", "--run", run.folder, "--signing-key-file", tmp_path / "key"))
    assert "both MMGREC_SIGNING_KEY and MMGREC_SIGNING_KEY_FILE are set" in message


def test_a_publisher_that_lost_its_lock_leaves_the_pointer(run: RunFolder, store: ReleaseStore) -> None:
    served = publish(run, store)

    def lost() -> None:
        raise LockedError("lost")

    with pytest.raises(LockedError):
        publish(run, store, before_flip=lost)
    assert store.active_version() == served
