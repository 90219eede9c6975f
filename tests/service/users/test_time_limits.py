"""A caller's own time limit, while Redis hangs for longer: it bounds the wait for a history, and cuts off nobody."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import redis

from service.app import create_app
from service.contract.redis_keys import RedisKeys
from service.contract.release_store import ReleaseStore
from service.redis_connection import RedisConnection, RedisUnavailableError
from service.releases.release import load_release
from service.schemas.recommend import RecommendRequest
from service.serving.inference import InferenceThread
from service.serving.recommender import Recommender
from service.serving.waiting import DeadlineError
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.users.histories import Histories
from service.users.user_items import UserItems
from tests.service.with_redis import beside_client, connected

HANGS_SECONDS = 600.0
"""What Redis may take by the settings: a test that waits for it does not end."""
ANNA = UserItems(("item-05",))


@pytest.fixture
def server(own_redis: Any, keys: RedisKeys) -> Any:
    """A Redis that knows anna, and may hang."""
    own_redis.start()
    with redis.Redis.from_url(own_redis.url) as client:
        client.rpush(keys.history("anna"), *ANNA.history)
    return own_redis


@pytest.fixture
def patient_service(
    server: Any, keys: RedisKeys, running: Any, wait_for: Any, fake_decoder: Any, publish_to: Any
) -> Iterator[httpx.Client]:
    """The service, ready, with far more patience for Redis than its callers have."""
    with redis.Redis.from_url(server.url) as client:
        publish_to(ReleaseStore(client, keys), "v1")
    settings = Settings(
        redis_url=server.url,
        namespace=keys.namespace,
        deadline_seconds=20,
        redis_timeout_seconds=HANGS_SECONDS,
        redis_connect_timeout_seconds=HANGS_SECONDS,
    )
    with running(create_app(settings, decoder_factory=fake_decoder)) as service:
        wait_for(lambda: service.get("/health/ready").status_code == 200)
        yield service
        server.go_on()  # else the service waits for it to end


def test_an_answer_comes_within_its_deadline_from_what_is_known(server: Any, patient_service: httpx.Client) -> None:
    def ask(user_id: str) -> dict[str, Any]:
        response = patient_service.post("/recommend", json={"user_id": user_id, "n": 1, "deadline_ms": 1000})
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    fresh = ask("anna")
    assert (fresh["source"], fresh["degraded"]) == ("model", False)
    server.hang()
    stale, unknown = ask("anna"), ask("ben")
    assert (stale["source"], stale["degraded"], stale["items"]) == ("model", True, fresh["items"])
    assert (unknown["fallback_reason"], unknown["degraded"]) == ("history_unavailable", True)
    server.go_on()
    again = ask("ben")
    assert (again["fallback_reason"], again["degraded"]) == ("unknown_user", False)


def test_who_has_no_more_time_leaves_and_the_others_get_the_answer(server: Any, keys: RedisKeys) -> None:
    async def use(histories: Histories, client: redis.Redis) -> None:
        assert await histories.read("anna", limit_seconds=60) == ANNA
        asked = histories.round_trips
        server.hang()
        patient = asyncio.create_task(histories.read("anna"))
        while histories.round_trips == asked:
            await asyncio.sleep(0)
        waiting = asyncio.create_task(histories.read("anna", limit_seconds=500))  # for the next round trip
        for _ in range(2):
            assert await histories.read("anna", limit_seconds=0.02) == ANNA._replace(stale=True)
        with pytest.raises(RedisUnavailableError, match="in the time that the request has"):
            await histories.read("ben", limit_seconds=0.02)
        assert not patient.done()
        assert not waiting.done()
        assert (histories.failures, histories.stale_answers) == (3, 2)
        server.go_on()
        assert await asyncio.gather(patient, waiting) == [ANNA, ANNA]
        assert histories.round_trips == asked + 2

    beside_client(server, keys, Histories, use, timeout=HANGS_SECONDS)


def test_those_who_share_a_round_trip_leave_one_by_one(server: Any, keys: RedisKeys) -> None:
    async def use(histories: Histories, client: redis.Redis) -> list[UserItems]:
        server.hang()
        limits = (None, 0.1, 0.02, 0.05)
        tasks = [asyncio.create_task(histories.read("anna", limit_seconds=each or HANGS_SECONDS)) for each in limits]
        for at in (2, 3, 1):
            with pytest.raises(RedisUnavailableError):
                await tasks[at]
        server.go_on()
        return [await tasks[0]]

    assert beside_client(server, keys, Histories, use, timeout=HANGS_SECONDS) == [ANNA]


@pytest.mark.parametrize("user_id", ["anna", "nobody"])
def test_a_deadline_that_has_passed_is_told_also_where_nothing_is_decoded(
    server: Any, keys: RedisKeys, fake_decoder: Any, publish_to: Any, user_id: str
) -> None:
    settings = Settings(redis_url=server.url, namespace=keys.namespace)
    with redis.Redis.from_url(server.url) as client:
        store = ReleaseStore(client, keys)
        publish_to(store, "v1")
        release = load_release(store, "v1", settings, decoder_factory=fake_decoder)

    async def use(connection: RedisConnection) -> None:
        inference = InferenceThread()
        try:
            recommender = Recommender(
                Histories(connection), inference, max_n=10, max_batch=4, deadline_seconds=5, metrics=Metrics()
            )
            with pytest.raises(DeadlineError):
                await recommender.recommend(
                    RecommendRequest(user_id=user_id), release, request_id="r", started=time.monotonic() - 6
                )
        finally:
            inference.close()

    connected(settings, lambda connection: connection, use)
