"""Releases are swapped without a pause while requests run: none fails, and none is answered from two of them."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest
import redis
from fastapi import FastAPI

from service.app import create_app
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore
from service.settings import Settings

Running = Callable[[FastAPI], AbstractContextManager[httpx.Client]]
NUM_ITEMS = {"v-12": 12, "v-8": 8, "v-5": 5}
NUM_SWAPS = 30
NUM_CALLERS = 4


class Callers:
    """Threads that ask until they are told to stop, and keep what they got."""

    def __init__(self, url: str) -> None:
        self.answers: list[tuple[str, httpx.Response]] = []
        self._ended = threading.Event()
        self._url = url
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(NUM_CALLERS)]

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        with httpx.Client(base_url=self._url, timeout=20) as client:
            asked = 0
            while not self._ended.is_set():
                user = f"user-{number}-{asked % 25}"
                body = {"user_id": user, "history": [f"item-{asked % 12:02d}"], "n": 10, "exclude_seen": False}
                self.answers.append((user, client.post("/recommend", json=body)))
                asked += 1


def check(user: str, response: httpx.Response) -> str:
    """Everything in an answer comes from the release that it names; gives that."""
    assert response.status_code == 200, (user, response.text)
    answer = response.json()
    version = str(answer["release"])
    assert response.headers["X-Release"] == version
    found = sorted(int(item["item_id"].removeprefix("item-")) for item in answer["items"])
    num_items = NUM_ITEMS[version]
    assert len(set(found)) == len(found) == answer["returned"] == min(10, num_items)
    assert found[-1] < num_items
    return version


@pytest.fixture
def published(publish: Any) -> None:
    for version, num_items in NUM_ITEMS.items():
        publish(version, num_items=num_items)


@pytest.mark.usefixtures("published")
def test_swaps_under_load(
    settings: Settings,
    store: ReleaseStore,
    running: Running,
    wait_for: Any,
    fake_decoder: Any,
) -> None:
    versions = list(NUM_ITEMS)
    with running(create_app(settings, decoder_factory=fake_decoder)) as client:
        wait_for(lambda: client.get("/health/ready").status_code == 200)
        with Callers(str(client.base_url)) as callers:
            for swap in range(NUM_SWAPS):
                version = versions[swap % len(versions)]
                store.activate(version)
                wait_for(lambda version=version: client.get("/info").json()["release"]["version"] == version)
    assert {check(user, response) for user, response in callers.answers} == set(versions)


@pytest.mark.usefixtures("published")
def test_a_canary_comes_and_goes_under_load(
    settings: Settings,
    store: ReleaseStore,
    running: Running,
    wait_for: Any,
    fake_decoder: Any,
    client_of_redis: redis.Redis,
    keys: RedisKeys,
) -> None:
    """While it is there, a user always gets the same release; one that makes no sense changes nothing for anybody."""
    store.activate("v-12")
    with running(create_app(settings, decoder_factory=fake_decoder)) as client:
        wait_for(lambda: client.get("/health/ready").status_code == 200)

        def canary_is_served() -> bool:
            return any(
                client.post("/recommend", json={"user_id": f"user-0-{at}"}).json()["release"] == "v-8"
                for at in range(25)
            )

        with Callers(str(client.base_url)) as callers:
            store.activate("v-8", "canary", 0.5)
            wait_for(canary_is_served)
            settled = len(callers.answers) + NUM_CALLERS  # those under way may have begun before
            wait_for(lambda: len(callers.answers) > settled + 150)
            until = len(callers.answers)
            client_of_redis.hset(keys.active, "canary", '{"version": "nowhere", "share": 0.9}')
            wait_for(lambda: client.get("/health/ready").json()["reasons"] == ["broken_canary"])
            assert client.get("/health/ready").status_code == 200
            store.rollback("canary")
            wait_for(lambda: client.get("/health/ready").json()["degraded"] is False)
    assert {check(user, response) for user, response in callers.answers} == {"v-12", "v-8"}
    by_user: dict[str, set[str]] = {}
    for user, response in callers.answers[settled:until]:
        by_user.setdefault(user, set()).add(check(user, response))
    assert all(len(releases) == 1 for releases in by_user.values())
    assert set.union(*by_user.values()) == {"v-12", "v-8"}
