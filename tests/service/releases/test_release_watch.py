"""The watch and a real Redis: it hears of releases, finds them without hearing, and keeps what it has if all fails."""

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from service.contract.manifest import ITEM_VECTORS_ARRAY
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore
from service.redis_connection import RedisConnection
from service.releases.release_watch import NotReadyError, ReleaseWatch
from service.serving.inference import InferenceThread
from service.settings import Settings

BROKEN = {ITEM_VECTORS_ARRAY: np.zeros((3, 2), np.float32)}


@pytest.fixture
def watch(settings: Settings, fake_decoder: Any) -> Iterator[ReleaseWatch]:
    """Not running: tests call `refresh`."""
    inference = InferenceThread()
    watch = ReleaseWatch(RedisConnection(settings), settings, fake_decoder, inference)
    yield watch
    watch.close()
    inference.close()


def versions(watch: ReleaseWatch) -> dict[str, str | None]:
    return {name: arm.release and arm.release.version for name, arm in watch.arms.items()}


def of(watch: ReleaseWatch, *users: str) -> list[str]:
    return [watch.snapshot(user).version for user in users]


def test_what_is_known_of_an_arm(watch: ReleaseWatch, publish: Any) -> None:
    assert watch.arms == {
        "main": (None, ("starting", "the service is loading its release; try again shortly"), 1.0, None)
    }
    before = time.time()
    publish("v1")
    watch.refresh()
    main = watch.arms["main"]
    assert (main.problem, main.share, watch.problems) == (None, 1.0, [])
    assert main.loaded_at is not None
    assert before <= main.loaded_at <= time.time()
    assert watch.state == (main.release, None)
    assert watch.reloads == {"loaded": 1, "refused": 0}
    watch.refresh()
    assert watch.arms["main"] == main  # nothing new


def test_a_canary_gets_its_users_and_no_others(watch: ReleaseWatch, publish: Any, store: ReleaseStore) -> None:
    users = [f"user-{number}" for number in range(300)]
    publish("v1")
    publish("v2")
    store.rollback(version="v1")
    store.activate("v2", "canary", 0.3)
    watch.refresh()
    assert versions(watch) == {"main": "v1", "canary": "v2"}
    assert [arm.share for arm in watch.arms.values()] == [0.7, 0.3]
    first = of(watch, *users)
    assert 0.2 < first.count("v2") / len(users) < 0.4
    assert of(watch, *users) == first
    assert watch.snapshot().version == "v1"
    histories = [[f"item-{number}"] for number in range(300)]
    assert 0.2 < [watch.snapshot(None, history).version for history in histories].count("v2") / 300 < 0.4
    store.arms.change_share(0.6)
    watch.refresh()
    assert watch.reloads["loaded"] == 2
    wider = of(watch, *users)
    assert all(after == "v2" for before, after in zip(first, wider, strict=True) if before == "v2")


def test_promoting_loads_nothing(watch: ReleaseWatch, publish: Any, store: ReleaseStore) -> None:
    publish("v1")
    publish("v2")
    store.rollback(version="v1")
    store.activate("v2", "canary", 0.3)
    watch.refresh()
    canary = watch.arms["canary"]
    store.arms.promote()
    watch.refresh()
    assert watch.arms == {"main": canary._replace(share=1.0)}
    assert watch.reloads["loaded"] == 2
    store.rollback(version="v1")
    watch.refresh()
    assert (versions(watch), watch.reloads["loaded"]) == ({"main": "v1"}, 3)


def test_withdrawing_frees_the_canary(watch: ReleaseWatch, publish: Any, store: ReleaseStore) -> None:
    publish("v1")
    store.activate("v1", "canary", 0.5)
    watch.refresh()
    assert watch.arms["canary"].release is watch.arms["main"].release  # one version is loaded once
    store.rollback("canary")
    watch.refresh()
    assert versions(watch) == {"main": "v1"}


def test_a_broken_canary_leaves_its_users_with_the_main_release(
    watch: ReleaseWatch, publish: Any, store: ReleaseStore, caplog: pytest.LogCaptureFixture
) -> None:
    publish("broken", arrays=BROKEN)
    publish("v1")
    store.activate("broken", "canary", 0.999)
    watch.refresh()
    assert versions(watch) == {"main": "v1", "canary": None}
    (problem,) = watch.problems
    assert problem.reason == "broken_canary"
    assert problem.message.startswith("canary broken cannot be loaded")
    assert problem.message.endswith("python -m offline rollback --arm canary")
    assert "its parts disagree" in caplog.text
    assert set(of(watch, *map(str, range(50)))) == {"v1"}
    assert watch.state.problem is None
    assert watch.reloads == {"loaded": 1, "refused": 1}


def test_a_broken_canary_leaves_the_canary_of_before(watch: ReleaseWatch, publish: Any, store: ReleaseStore) -> None:
    publish("broken", arrays=BROKEN)
    publish("v2")
    publish("v1")
    store.activate("v2", "canary", 0.5)
    watch.refresh()
    store.activate("broken", "canary", 0.5)
    watch.refresh()
    assert versions(watch) == {"main": "v1", "canary": "v2"}
    assert [problem.reason for problem in watch.problems] == ["broken_canary"]
    assert set(of(watch, *map(str, range(50)))) == {"v1", "v2"}


@pytest.mark.parametrize("text", ["{}", "no JSON", '{"version": "v1", "share": 7}', '{"version": "v9", "share": 0.5}'])
def test_a_canary_that_makes_no_sense_is_the_canary_s_problem(
    watch: ReleaseWatch, publish: Any, client_of_redis: redis.Redis, keys: RedisKeys, text: str
) -> None:
    publish("v1")
    client_of_redis.hset(keys.active, "canary", text)
    watch.refresh()
    assert watch.state.problem is None
    assert [problem.reason for problem in watch.problems] == ["broken_canary"]
    assert set(of(watch, *map(str, range(20)))) == {"v1"}


def test_a_main_release_that_is_broken_is_not_replaced_by_the_canary(
    watch: ReleaseWatch, publish: Any, store: ReleaseStore
) -> None:
    publish("v2")
    publish("broken", arrays=BROKEN)
    store.activate("v2", "canary", 0.5)
    watch.refresh()
    assert versions(watch) == {"main": None, "canary": "v2"}
    with pytest.raises(NotReadyError, match="release broken cannot be loaded"):
        watch.snapshot("anna")


def test_a_broken_release_is_tried_again_only_after_a_while_or_when_asked(
    watch: ReleaseWatch, publish: Any, client_of_redis: redis.Redis, keys: RedisKeys, store: ReleaseStore
) -> None:
    publish("v1")
    address = next(iter(store.read_manifest("v1").arrays[ITEM_VECTORS_ARRAY].addresses))
    piece = client_of_redis.getdel(keys.blob(*address))
    for _ in range(3):
        watch.refresh()
    assert watch.state.problem is not None
    assert watch.state.problem.reason == "broken_release"
    assert watch.reloads["refused"] == 1
    client_of_redis.set(keys.blob(*address), piece)
    watch.refresh()
    assert watch.state.release is None
    asyncio.run(watch.reload())
    assert (versions(watch), watch.problems) == ({"main": "v1"}, [])


def test_a_release_that_must_be_signed_and_is_not(
    settings: Settings, publish: Any, fake_decoder: Any, client_of_redis: redis.Redis, keys: RedisKeys
) -> None:
    """Write access to Redis is not enough: neither a new manifest nor a changed one is taken."""
    settings = Settings(**{**settings.model_dump(), "verification_keys": "an-older-key-of-theirs,the-key-of-this-test"})
    signing = ReleaseStore(client_of_redis, keys, signing_key=b"the-key-of-this-test")
    inference = InferenceThread()
    watch = ReleaseWatch(RedisConnection(settings), settings, fake_decoder, inference)
    publish("unsigned")
    watch.refresh()
    assert [problem.reason for problem in watch.problems] == ["broken_release"]
    signing.write_manifest(type(signed := signing.read_manifest("unsigned"))(**{**vars(signed), "version": "signed"}))
    signing.activate("signed")
    watch.refresh()
    assert (versions(watch), watch.problems) == ({"main": "signed"}, [])
    changed = json.loads(client_of_redis.get(keys.release("signed")))
    changed["version"], changed["model"]["dense_weight"] = "changed", 2.0
    client_of_redis.set(keys.release("changed"), json.dumps(changed))
    signing.arms.set_main("changed")
    watch.refresh()
    assert versions(watch) == {"main": "signed"}
    assert [problem.reason for problem in watch.problems] == ["broken_release"]
    watch.close()
    inference.close()


def test_blobs_of_another_place(
    redis_url: str, keys: RedisKeys, publish_to: Any, fake_decoder: Any, client_of_redis: redis.Redis, tmp_path: Path
) -> None:
    """Read from the place that was allowed; a place that is away is waited for, another one is refused."""
    publish_to(ReleaseStore(client_of_redis, keys, blobs_url=str(tmp_path / "a")), "v1")
    inference = InferenceThread()

    def refreshed(blobs_url: str) -> ReleaseWatch:
        settings = Settings(redis_url=redis_url, namespace=keys.namespace, blobs_url=blobs_url)
        watch = ReleaseWatch(RedisConnection(settings), settings, fake_decoder, inference)
        watch.refresh()
        watch.close()
        return watch

    assert versions(refreshed(str(tmp_path / "a"))) == versions(refreshed(str(tmp_path))) == {"main": "v1"}
    for other in ("redis", str(tmp_path / "b")):
        assert [problem.reason for problem in refreshed(other).problems] == ["broken_release"]
    (tmp_path / "a").rename(tmp_path / "away")
    away = refreshed(str(tmp_path / "a"))
    assert [problem.reason for problem in away.problems] == ["blobs_unreachable"]
    (tmp_path / "away").rename(tmp_path / "a")
    away.refresh()
    assert (versions(away), away.problems) == ({"main": "v1"}, [])
    inference.close()


def test_a_problem_is_logged_once_and_never_with_a_secret(
    namespace: str, fake_decoder: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(redis_url="redis://:hunter2@127.0.0.1:1/0", namespace=namespace)
    inference = InferenceThread()
    watch = ReleaseWatch(RedisConnection(settings), settings, fake_decoder, inference)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            watch.refresh()
    assert [problem.reason for problem in watch.problems] == ["redis_unreachable"]
    assert len(caplog.records) == 1
    assert "hunter2" not in caplog.text
    watch.close()
    inference.close()
