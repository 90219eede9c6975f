"""`POST /events` as its callers see it: the next recommendation knows what happened."""

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest
import redis
from fastapi import FastAPI

from service.app import create_app
from service.contract.event_stream import StoredEvent
from service.contract.redis_keys import RedisKeys, event_partition
from service.contract.release_store import ReleaseStore
from service.redis_connection import RETRY_SPREAD_SECONDS
from service.settings import Settings

Running = Callable[[FastAPI], AbstractContextManager[httpx.Client]]
WaitFor = Callable[[Callable[[], Any]], Any]


def best(service: httpx.Client, user: str, n: int = 1) -> list[str]:
    answer = service.post("/recommend", json={"user_id": user, "n": n}).json()
    return [item["item_id"] for item in answer["items"]]


def post(service: httpx.Client, *events: dict[str, Any]) -> httpx.Response:
    return service.post("/events", json={"events": list(events)})


def test_the_next_recommendation_knows_the_event(service: httpx.Client) -> None:
    assert best(service, "anna") == ["item-11"]  # unknown: the most popular
    assert post(service, {"user_id": "anna", "item_id": "item-05"}).status_code == 200
    assert best(service, "anna", 2) == ["item-04", "item-06"]
    post(service, {"user_id": "anna", "item_id": "item-09"}, {"user_id": "anna", "item_id": "item-08"})
    assert best(service, "anna", 3) == ["item-07", "item-06", "item-10"]  # near item-08; 05, 08, 09 are seen


def test_what_is_answered(service: httpx.Client) -> None:
    body = post(
        service,
        {"user_id": "bert", "item_id": "item-05", "event_id": "e-1"},
        {"user_id": "bert", "item_id": "item-05", "event_id": "e-1"},
        {"user_id": "bert", "item_id": "not in any release yet"},
    ).json()
    assert body.pop("took_ms") > 0
    assert body == {"accepted": 2, "duplicates": 1, "not_applied": 0}
    assert service.get("/users/bert/history").json()["history"] == ["item-05", "not in any release yet"]


def test_everything_given_is_in_the_stream_and_the_time_is_now_where_none_is(
    service: httpx.Client, client_of_redis: redis.Redis, service_keys: RedisKeys
) -> None:
    before = int(time.time() * 1000)
    given = {"event": "buy", "weight": -1.5, "timestamp": 1_763_740_800_000, "event_id": "order-1"}
    post(service, {"user_id": "carl", "item_id": "a", **given}, {"user_id": "carl", "item_id": "b"})
    entries: Any = client_of_redis.xrange(service_keys.events(event_partition("carl", 4)))
    first, second = [stored for _, fields in entries if (stored := StoredEvent.from_fields(fields)).user_id == "carl"]
    assert first == StoredEvent("carl", "a", 1_763_740_800_000, "buy", -1.5, "order-1")
    assert second._replace(time_ms=0) == StoredEvent("carl", "b", 0)
    assert before <= second.time_ms <= time.time() * 1000


def test_a_whole_number_is_a_weight(service: httpx.Client) -> None:
    assert post(service, {"user_id": "emil", "item_id": "a", "weight": 3}).json()["accepted"] == 1


def test_a_full_call_is_stored_in_order(service: httpx.Client) -> None:
    events = [{"user_id": "full", "item_id": f"i{at}", "event_id": f"e{at}"} for at in range(500)]
    assert post(service, *events).json()["accepted"] == 500
    assert service.get("/users/full/history").json()["history"] == [f"i{at}" for at in range(500)]
    assert post(service, *events).json()["duplicates"] == 500


def test_an_event_of_yesterday_does_not_become_the_newest(service: httpx.Client) -> None:
    post(service, {"user_id": "dora", "item_id": "item-05"})
    post(service, {"user_id": "dora", "item_id": "item-00", "timestamp": 1_763_740_800_000})
    assert service.get("/users/dora/history").json()["history"] == ["item-00", "item-05"]


def test_ids_of_any_letters(service: httpx.Client) -> None:
    odd = "}{ü/\n\x00 '\"%"
    assert post(service, {"user_id": odd, "item_id": "item-05"}).json()["accepted"] == 1
    assert best(service, odd) == ["item-04"]


EVENT = {"user_id": "a", "item_id": "i"}


@pytest.mark.parametrize(
    ("events", "named"),
    [
        ([], ["events:", "at least 1"]),
        ([EVENT] * 501, ["events:", "at most 500"]),
        ({**EVENT}, ["events:", "list"]),
        (["anna"], ["events.0:"]),
        ([None], ["events.0:"]),
        ([EVENT, {"user_id": "a"}], ["events.1.item_id:", "required"]),
        ([{**EVENT, "user_id": ""}], ["events.0.user_id:", "at least 1 character"]),
        ([{**EVENT, "user_id": "u" * 257}], ["events.0.user_id:", "at most 256"]),
        ([{**EVENT, "item_id": 7}], ["events.0.item_id:", "string", "it is 7"]),
        ([{**EVENT, "item_id": "\ud800"}], ["events.0.item_id:"]),
        ([{**EVENT, "event": ""}], ["events.0.event:", "at least 1 character"]),
        ([{**EVENT, "event": "e" * 65}], ["events.0.event:", "at most 64"]),
        ([{**EVENT, "weight": "much"}], ["events.0.weight:", "number"]),
        ([{**EVENT, "weight": float("inf")}], ["events.0.weight:", "finite"]),
        ([{**EVENT, "weight": True}], ["events.0.weight:", "number"]),
        ([{**EVENT, "timestamp": -1}], ["events.0.timestamp:", "greater than or equal to 100000000000", "it is -1"]),
        ([{**EVENT, "timestamp": 1_763_740_800}], ["events.0.timestamp:", "100000000000"]),  # seconds
        ([{**EVENT, "timestamp": 10**18}], ["events.0.timestamp:", "a day ahead", "milliseconds"]),
        ([{**EVENT, "timestamp": 1.5}], ["events.0.timestamp:", "integer"]),
        ([{**EVENT, "timestamp": "2026-11-21"}], ["events.0.timestamp:", "integer"]),
        ([{**EVENT, "event_id": ""}], ["events.0.event_id:", "pattern"]),
        ([{**EVENT, "event_id": "a}b"}], ["events.0.event_id:", "pattern"]),
        ([{**EVENT, "event_id": "e" * 129}], ["events.0.event_id:", "pattern"]),
        ([EVENT, {**EVENT, "item": "i"}], ["'item': no such field of events.1", "the nearest is item_id"]),
    ],
)
def test_a_wrong_event_is_named_and_nothing_is_stored(service: httpx.Client, events: Any, named: list[str]) -> None:
    content = json.dumps({"events": events})  # with Infinity and lone surrogates, as some callers write them
    response = service.post("/events", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == 422, response.text
    error = response.json()["error"]
    assert (error["code"], error["retryable"]) == ("validation_failed", False)
    for text in named:
        assert text in error["message"]
    assert service.get("/users/a/history").json()["seen_count"] == 0


@pytest.mark.parametrize("body", [{**EVENT}, {"event": EVENT}])
def test_one_event_without_its_list_is_told_so(service: httpx.Client, body: dict[str, Any]) -> None:
    response = service.post("/events", json=body)
    assert response.status_code == 422
    assert "events: " in response.json()["error"]["message"]


def test_the_documented_examples_are_accepted(service: httpx.Client) -> None:
    schemas = service.get("/openapi.json").json()["components"]["schemas"]
    for example in schemas["EventsRequest"]["examples"]:
        assert service.post("/events", json=example).status_code == 200
    assert set(schemas["EventsResponse"]["examples"][0]) == set(schemas["EventsResponse"]["properties"])


def test_events_need_no_release(settings: Settings, running: Running, wait_for: WaitFor, fake_decoder: Any) -> None:
    with running(create_app(settings, decoder_factory=fake_decoder)) as client:
        wait_for(lambda: client.get("/health/ready").json()["reasons"] == ["no_release"])
        assert post(client, {"user_id": "anna", "item_id": "item-05"}).status_code == 200


def test_an_event_survives_a_kill_and_a_full_redis_refuses_in_one_shape(
    own_redis: Any, namespace: str, running: Running, wait_for: WaitFor, publish_to: Any, fake_decoder: Any
) -> None:
    own_redis.start()
    with redis.Redis.from_url(own_redis.url) as client_of_redis:
        publish_to(ReleaseStore(client_of_redis, RedisKeys(namespace)), "v1")
    settings = Settings(redis_url=own_redis.url, namespace=namespace, release_poll_seconds=0.05)
    event = {"user_id": "anna", "item_id": "item-05", "event_id": "e-1"}
    with running(create_app(settings, decoder_factory=fake_decoder)) as client:
        wait_for(lambda: client.get("/health/ready").status_code == 200)
        assert post(client, event).json()["accepted"] == 1
        own_redis.kill()
        refused = post(client, {"user_id": "anna", "item_id": "item-06"})
        assert refused.status_code == 503
        assert 1 <= int(refused.headers["Retry-After"]) <= RETRY_SPREAD_SECONDS
        error = refused.json()["error"]
        assert (error["code"], error["type"], error["retryable"]) == ("redis_unavailable", "unavailable", True)
        assert own_redis.url not in refused.text

        own_redis.start()
        assert best(client, "anna") == ["item-04"]
        assert post(client, event).json()["duplicates"] == 1

        with redis.Redis.from_url(own_redis.url) as client_of_redis:
            client_of_redis.config_set("maxmemory", 1)
        full = post(client, {"user_id": "anna", "item_id": "item-06"})
        assert full.status_code == 503
        assert 1 <= int(full.headers["Retry-After"]) <= RETRY_SPREAD_SECONDS
        assert "Redis is full" in full.json()["error"]["message"]
        answer = client.post("/recommend", json={"user_id": "anna", "n": 1}).json()
        assert ([item["item_id"] for item in answer["items"]], answer["degraded"]) == (["item-04"], False)
