"""Starts, swaps and outages seen from outside: real HTTP, and a real Redis that comes late, is killed, comes back."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import redis
from fastapi import FastAPI

from service.app import create_app
from service.contract.manifest import ITEM_VECTORS_ARRAY
from service.contract.redis_keys import RedisKeys
from service.contract.redis_server import ensure_server, stop_server
from service.contract.release_store import ReleaseStore
from service.settings import Settings
from service.users.histories import Histories, UserItems

Running = Callable[[FastAPI], AbstractContextManager[httpx.Client]]
WaitFor = Callable[[Callable[[], Any]], Any]


def ids(response: httpx.Response) -> list[str]:
    return [item["item_id"] for item in response.json()["items"]]


def remember(client: redis.Redis, keys: RedisKeys, user: str, history: list[str], seen: list[str]) -> None:
    """Store a user; `history` oldest first."""
    client.lpush(keys.history(user), *history)
    client.zadd(keys.seen(user), {item: at for at, item in enumerate(seen, 1)})


def test_every_decode_of_requests_runs_on_one_thread(
    settings: Settings, publish: Any, running: Running, wait_for: WaitFor, fake_decoder: Any
) -> None:
    publish("v1")
    made: list[Any] = []

    def factory(*args: Any, **named: Any) -> Any:
        made.append(fake_decoder(*args, **named))
        return made[-1]

    with running(create_app(settings, decoder_factory=factory)) as client:
        wait_for(lambda: client.get("/health/ready").status_code == 200)
        made[0].threads_seen.clear()  # the self-test ran on the loader's
        for _ in range(5):
            client.post("/recommend", json={"history": ["item-05"]})
    assert len(made[0].threads_seen) == 1
    assert made[0].threads_seen.pop().startswith("inference")


def test_a_service_that_starts_before_any_release_becomes_ready_after_a_publish(
    settings: Settings, publish: Any, running: Running, wait_for: WaitFor, fake_decoder: Any
) -> None:
    with running(create_app(settings, decoder_factory=fake_decoder)) as client:
        wait_for(lambda: client.get("/health/ready").json()["reasons"] == ["no_release"])
        assert client.get("/health/live").status_code == 200
        assert client.get("/info").json()["release"] is None
        refused = client.post("/recommend", json={"user_id": "anna"})
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) >= 1
        error = refused.json()["error"]
        assert (error["code"], error["type"], error["retryable"]) == ("no_release", "unavailable", True)
        assert "python -m offline publish --run DIR" in error["message"]
        assert settings.namespace in error["message"]
        publish("v1")
        wait_for(lambda: client.get("/health/ready").status_code == 200)
        assert client.post("/recommend", json={"history": ["item-05"]}).json()["release"] == "v1"


def test_a_service_that_starts_before_redis_becomes_ready_after_it(
    own_redis: Any, namespace: str, running: Running, wait_for: WaitFor, publish_to: Any, fake_decoder: Any
) -> None:
    settings = Settings(redis_url=own_redis.url, namespace=namespace, release_poll_seconds=0.05)
    with running(create_app(settings, decoder_factory=fake_decoder)) as client:
        wait_for(lambda: client.get("/health/ready").json()["reasons"] == ["redis_unreachable"])
        refused = client.post("/recommend", json={"user_id": "anna"})
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "redis_unreachable"
        assert "MMGREC_REDIS_URL" in refused.json()["error"]["message"]
        assert own_redis.url not in refused.text
        own_redis.start()
        with redis.Redis.from_url(own_redis.url) as client_of_redis:
            publish_to(ReleaseStore(client_of_redis, RedisKeys(namespace)), "v1")
        wait_for(lambda: client.get("/health/ready").status_code == 200)


def test_redis_killed_under_way_degrades_and_recovers(
    own_redis: Any, namespace: str, running: Running, wait_for: WaitFor, publish_to: Any, fake_decoder: Any
) -> None:
    own_redis.start()
    keys = RedisKeys(namespace)
    with redis.Redis.from_url(own_redis.url) as client_of_redis:
        publish_to(ReleaseStore(client_of_redis, keys), "v1")
        remember(client_of_redis, keys, "anna", ["item-05"], ["item-05"])
    settings = Settings(redis_url=own_redis.url, namespace=namespace, release_poll_seconds=0.05)
    anna = {"user_id": "anna", "n": 1}
    with running(create_app(settings, decoder_factory=fake_decoder)) as client:
        wait_for(lambda: client.get("/health/ready").status_code == 200)
        assert ids(client.post("/recommend", json=anna)) == ["item-04"]
        own_redis.kill()

        alone = client.post("/recommend", json={"history": ["item-05"], "n": 1}).json()
        assert (alone["source"], alone["degraded"]) == ("model", False)  # nothing of Redis was needed
        both = client.post("/recommend", json={**anna, "history": ["item-05"]}).json()
        assert (both["source"], both["degraded"]) == ("model", True)
        stored = client.post("/recommend", json=anna)  # her last known history
        assert (stored.status_code, ids(stored)) == (200, ["item-04"])
        assert (stored.json()["source"], stored.json()["degraded"]) == ("model", True)
        other = client.post("/recommend", json={"user_id": "bert", "n": 1})
        assert (other.status_code, ids(other)) == (200, ["item-11"])
        assert (other.json()["source"], other.json()["degraded"]) == ("fallback:popular", True)
        assert other.json()["fallback_reason"] == "history_unavailable"
        ready = client.get("/health/ready")
        assert (ready.status_code, ready.json()["degraded"]) == (200, True)
        assert ready.json()["reasons"] == ["redis_unreachable"]

        own_redis.start()
        recovered = client.post("/recommend", json=anna)  # the very first request after it, on a dead pooled connection
        assert (ids(recovered), recovered.json()["degraded"]) == (["item-04"], False)
        wait_for(lambda: client.get("/health/ready").json()["degraded"] is False)


def test_fixed_shapes_are_prepared_on_the_thread_that_decodes(
    settings: Settings, publish: Any, running: Running, wait_for: WaitFor, fake_decoder: Any
) -> None:
    """A CUDA graph belongs to the thread that captured it."""
    publish("v1")
    threads: list[str] = []

    class BucketDecoder(fake_decoder):  # type: ignore[misc]
        has_buckets = True

        def prepare(self) -> None:
            threads.append(threading.current_thread().name)

    with running(create_app(settings, decoder_factory=BucketDecoder)) as client:
        wait_for(lambda: client.get("/health/ready").status_code == 200)
    assert [name.rpartition("_")[0] for name in threads] == ["inference"]


def test_a_release_is_warm_before_it_is_ready(
    settings: Settings, publish: Any, running: Running, wait_for: WaitFor, fake_decoder: Any
) -> None:
    """Every tier, batches of one and of `max_batch`, short and long histories, on the thread that will decode."""
    publish("v1")
    shapes: set[tuple[int, int, int]] = set()

    class NotingDecoder(fake_decoder):  # type: ignore[misc]
        def decode(self, histories: Any, filters: Any, *, beam_width: int) -> Any:
            if threading.current_thread().name.startswith("inference"):
                shapes.add((beam_width, len(histories), len(histories[0])))
            return super().decode(histories, filters, beam_width=beam_width)

    with running(create_app(settings, decoder_factory=NotingDecoder)) as client:
        wait_for(lambda: client.get("/health/ready").status_code == 200)
    assert shapes == {(width, batch, length) for width in (10, 20) for batch in (1, 32) for length in (1, 6)}


def test_a_request_keeps_the_release_that_it_started_with(
    settings: Settings,
    publish: Any,
    running: Running,
    wait_for: WaitFor,
    fake_decoder: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish("v1")
    entered, let_go = threading.Event(), threading.Event()

    async def slow_read(self: Histories, user_id: str, *_: float, **__: float) -> UserItems:
        entered.set()
        while not let_go.is_set():
            await asyncio.sleep(0.01)
        return UserItems()

    monkeypatch.setattr(Histories, "read", slow_read)
    answers: list[httpx.Response] = []
    with running(create_app(settings, decoder_factory=fake_decoder)) as client:
        wait_for(lambda: client.get("/health/ready").status_code == 200)
        ask = {"user_id": "slow", "history": ["item-11"], "n": 1, "exclude_seen": False}
        asking = threading.Thread(target=lambda: answers.append(client.post("/recommend", json=ask)))
        asking.start()
        assert entered.wait(15)
        publish("v2", num_items=6)  # in v2 there is no item-11
        wait_for(lambda: client.get("/info").json()["release"]["version"] == "v2")
        let_go.set()
        asking.join()
        assert answers[0].json()["release"] == answers[0].headers["X-Release"] == "v1"
        assert ids(answers[0]) == ["item-11"]
        assert client.post("/recommend", json=ask).json()["release"] == "v2"


def test_a_broken_release_leaves_the_old_one_serving_and_a_good_one_cures_it(
    own_service: httpx.Client, publish: Any, wait_for: WaitFor, caplog: pytest.LogCaptureFixture
) -> None:
    publish("v2", arrays={ITEM_VECTORS_ARRAY: np.zeros((3, 2), np.float32)})
    ready = wait_for(lambda: (found := own_service.get("/health/ready").json())["degraded"] and found)
    assert (ready["ready"], ready["reasons"], ready["release"]) == (True, ["broken_release"], "v1")
    assert "v2" in ready["message"]
    assert "rollback" in ready["message"]
    assert "release v2: its parts disagree" in caplog.text
    assert own_service.post("/recommend", json={"history": ["item-05"]}).json()["release"] == "v1"
    publish("v3")
    wait_for(lambda: own_service.get("/health/ready").json()["release"] == "v3")
    assert own_service.get("/health/ready").json()["degraded"] is False


def test_no_pointer_keeps_the_release_in_memory(
    own_service: httpx.Client, client_of_redis: redis.Redis, keys: RedisKeys, wait_for: WaitFor
) -> None:
    client_of_redis.delete(keys.active)
    wait_for(lambda: own_service.get("/health/ready").json()["reasons"] == ["no_release"])
    assert own_service.get("/health/ready").status_code == 200
    assert own_service.post("/recommend", json={"history": ["item-05"]}).status_code == 200


def test_an_unreadable_pointer_is_no_end(
    own_service: httpx.Client, client_of_redis: redis.Redis, keys: RedisKeys, publish: Any, wait_for: WaitFor
) -> None:
    client_of_redis.hset(keys.active, "main", "{}")
    wait_for(lambda: own_service.get("/health/ready").json()["reasons"] == ["broken_release"])
    publish("v2")
    wait_for(lambda: own_service.get("/info").json()["release"]["version"] == "v2")
    assert own_service.get("/health/ready").status_code == 200


def test_without_a_url_the_private_redis_of_home_is_used_and_restarted(
    tmp_path: Path, namespace: str, running: Running, wait_for: WaitFor, publish_to: Any, fake_decoder: Any
) -> None:
    settings = Settings(redis_url=None, home=tmp_path, namespace=namespace, release_poll_seconds=0.05)
    try:
        with running(create_app(settings, decoder_factory=fake_decoder)) as client:
            wait_for(lambda: client.get("/health/ready").json()["reasons"] == ["no_release"])
            with redis.Redis.from_url(ensure_server(tmp_path)) as client_of_redis:
                publish_to(ReleaseStore(client_of_redis, RedisKeys(namespace)), "v1")
            wait_for(lambda: client.get("/health/ready").status_code == 200)
            assert client.get("/info").json()["redis"]["kind"] == "embedded"
            stop_server(tmp_path)
            wait_for(lambda: client.get("/health/ready").json()["degraded"] is False)
            assert client.post("/recommend", json={"user_id": "x"}).json()["degraded"] is False
    finally:
        stop_server(tmp_path)
