"""`/admin/*` over real HTTP and a real Redis."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import httpx
import pytest
import redis
from fastapi import FastAPI
from pydantic import SecretStr

from service.app import create_app
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore
from service.settings import Settings

Running = Callable[[FastAPI], AbstractContextManager[httpx.Client]]
WaitFor = Callable[[Callable[[], Any]], Any]
KEY, ADMIN_KEY = "the-key-of-the-web-shop", "the-key-of-operators-1"
ROUTES = [("GET", "/admin/releases"), ("POST", "/admin/reload"), ("POST", "/admin/rollback")]


@pytest.fixture
def operated(
    settings: Settings, publish: Any, running: Running, wait_for: WaitFor, fake_decoder: Any
) -> Iterator[httpx.Client]:
    """A service that polls once an hour and hears of releases by message alone, unless an admin calls."""
    publish("v1")
    keys = {"admin_keys": SecretStr(ADMIN_KEY), "api_keys": SecretStr(KEY), "release_poll_seconds": 3600.0}
    with running(create_app(settings.model_copy(update=keys), decoder_factory=fake_decoder)) as client:
        wait_for(lambda: client.get("/health/ready").status_code == 200)
        client.headers["X-API-Key"] = ADMIN_KEY
        yield client


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_other_keys_and_none_do_not_open(operated: httpx.Client, method: str, path: str) -> None:
    for shown in (KEY, "wrong-wrong-wrong-wrong", ""):
        answer = operated.request(method, path, headers={"X-API-Key": shown})
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert operated.post("/recommend", json={"user_id": "a"}).status_code == 401  # nor the admin key other doors


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_admin_keys_there_is_nothing(service: httpx.Client, method: str, path: str) -> None:
    answer = service.request(method, path, headers={"X-API-Key": ADMIN_KEY})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert answer.json()["error"]["message"] == service.get("/nowhere").json()["error"]["message"]


def test_under_another_root_path_an_api_key_opens_no_admin_route(
    settings: Settings, running: Running, fake_decoder: Any
) -> None:
    """The path then begins with the root path: the layer in front sees no admin route, the route itself does."""
    keys = {"admin_keys": SecretStr(ADMIN_KEY), "api_keys": SecretStr(KEY)}
    app = create_app(settings.model_copy(update=keys), decoder_factory=fake_decoder)
    app.root_path = "/shop"
    with running(app) as client:
        answer = client.post("/shop/admin/reload", headers={"X-API-Key": KEY})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthenticated")
        assert client.post("/admin/reload", headers={"X-API-Key": KEY}).status_code == 401


def arms(main: str | None, reason: str | None = None) -> list[dict[str, Any]]:
    return [{"arm": "main", "release": main, "share": 1.0, "reason": reason}]


def test_releases_are_listed(operated: httpx.Client, publish: Any, store: ReleaseStore) -> None:
    publish("v2")
    publish("v3")
    store.activate("v1", "canary", 0.25)
    operated.post("/admin/reload")
    assert operated.get("/admin/releases").json()["releases"] == [
        {"version": "v1", "active_in": ["canary"], "loaded_in": ["canary"]},
        {"version": "v2", "active_in": [], "loaded_in": []},
        {"version": "v3", "active_in": ["main"], "loaded_in": ["main"]},
    ]


def test_a_reload_does_not_wait_for_the_next_look(operated: httpx.Client, publish: Any) -> None:
    publish("v2")
    for _ in range(2):
        assert operated.post("/admin/reload").json() == {"arms": arms("v2")}
    answer = operated.post("/recommend", json={"history": ["item-05"]}, headers={"X-API-Key": KEY})
    assert answer.json()["release"] == "v2"
    assert operated.get("/admin/releases").json()["arms"] == arms("v2")


def test_a_reload_says_what_is_wrong(operated: httpx.Client, client_of_redis: redis.Redis, keys: RedisKeys) -> None:
    client_of_redis.hset(keys.active, "main", "{}")
    assert operated.post("/admin/reload").json() == {"arms": arms("v1", "broken_release")}


@pytest.fixture
def child(store: ReleaseStore, publish: Any) -> Callable[[], None]:
    """Publish v3, a child of v1."""

    def publish_child() -> None:
        publish("v2")
        store.write_manifest(replace(store.read_manifest("v2"), parent="v1", version="v3"))
        store.activate("v3")

    return publish_child


def test_a_rollback_serves_the_parent_again(
    operated: httpx.Client, child: Callable[[], None], store: ReleaseStore
) -> None:
    child()
    assert operated.post("/admin/reload").json() == {"arms": arms("v3")}
    assert operated.post("/admin/rollback").json() == {"arms": arms("v1")}
    assert store.active_version() == "v1"


def test_a_rollback_of_the_canary_withdraws_it(operated: httpx.Client, publish: Any, store: ReleaseStore) -> None:
    publish("v2")
    store.activate("v1", "canary", 0.25)
    found = operated.post("/admin/reload").json()["arms"]
    assert [(arm["arm"], arm["release"], arm["share"]) for arm in found] == [
        ("main", "v2", 0.75),
        ("canary", "v1", 0.25),
    ]
    assert operated.post("/admin/rollback", params={"arm": "canary"}).json() == {"arms": arms("v2")}


def test_a_rollback_to_what_cannot_be_served_is_refused_and_the_pointer_stays(
    operated: httpx.Client,
    child: Callable[[], None],
    store: ReleaseStore,
    client_of_redis: redis.Redis,
    keys: RedisKeys,
) -> None:
    child()
    operated.post("/admin/reload")
    client_of_redis.delete(*client_of_redis.scan_iter(match=f"{keys.namespace}:blob:*"))
    answer = operated.post("/admin/rollback")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "rollback_refused")
    assert store.active_version() == "v3"


@pytest.mark.parametrize("arm", ["main", "canary"])
def test_a_rollback_with_nothing_behind_it_is_refused(operated: httpx.Client, store: ReleaseStore, arm: str) -> None:
    answer = operated.post("/admin/rollback", params={"arm": arm})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["retryable"]) == (409, "rollback_refused", False)
    assert store.active_version() == "v1"


def test_an_arm_that_there_is_not_is_named(operated: httpx.Client) -> None:
    answer = operated.post("/admin/rollback", params={"arm": "left"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "validation_failed")
    assert "'left'" in answer.json()["error"]["message"]


def test_without_redis_operators_are_told_the_cure(
    own_redis: Any, namespace: str, running: Running, wait_for: WaitFor, publish_to: Any, fake_decoder: Any
) -> None:
    own_redis.start()
    with redis.Redis.from_url(own_redis.url) as client_of_redis:
        publish_to(ReleaseStore(client_of_redis, RedisKeys(namespace)), "v1")
    chosen = Settings(
        redis_url=SecretStr(own_redis.url),
        namespace=namespace,
        admin_keys=SecretStr(ADMIN_KEY),
        release_poll_seconds=0.05,
    )
    with running(create_app(chosen, decoder_factory=fake_decoder)) as client:
        client.headers["X-API-Key"] = ADMIN_KEY
        wait_for(lambda: client.get("/health/ready").status_code == 200)
        own_redis.kill()
        for method, path in (("GET", "/admin/releases"), ("POST", "/admin/rollback")):
            answer = client.request(method, path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "redis_unavailable")
            assert "MMGREC_REDIS_URL" in answer.json()["error"]["message"]
            assert own_redis.url not in answer.text
        assert client.post("/admin/reload").json() == {"arms": arms("v1", "redis_unreachable")}
