"""The service as its callers see it: real HTTP, real Redis, a decoder whose answers are known by eye."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest
import redis
from fastapi import FastAPI

from service.contract.redis_keys import RedisKeys

Running = Callable[[FastAPI], AbstractContextManager[httpx.Client]]
WaitFor = Callable[[Callable[[], Any]], Any]


def ids(response: httpx.Response) -> list[str]:
    return [item["item_id"] for item in response.json()["items"]]


def remember(client: redis.Redis, keys: RedisKeys, user: str, history: list[str], seen: list[str]) -> None:
    """Store a user; `history` oldest first."""
    client.lpush(keys.history(user), *history)
    client.zadd(keys.seen(user), {item: at for at, item in enumerate(seen, 1)})


def test_a_history_in_the_request_is_answered(service: httpx.Client) -> None:
    response = service.post("/recommend", json={"history": ["item-01", "item-05"], "n": 3})
    body = response.json()
    assert response.status_code == 200
    assert ids(response) == ["item-04", "item-06", "item-03"]  # equal scores by item id, seen items left out
    first = body["items"][0]
    assert first == {
        "item_id": "item-04",
        "rank": 1,
        "score": -1.0,
        "log_prob": -2.0,
        "title": "Title 4",
        "categories": ["category-0"],
        "explanation": None,
    }
    assert [item["rank"] for item in body["items"]] == [1, 2, 3]
    assert body["source"] == "model"
    assert body["release"] == response.headers["X-Release"] == "v1"
    assert body["request_id"] == response.headers["X-Request-ID"]
    assert (body["returned"], body["exhausted"], body["degraded"]) == (3, False, False)
    assert (body["history_length"], body["unknown_history_items"]) == (2, 0)
    assert body["took_ms"] > 0


def test_a_stored_user_is_answered_and_seen_items_are_left_out(
    service: httpx.Client, client_of_redis: redis.Redis, service_keys: RedisKeys
) -> None:
    remember(client_of_redis, service_keys, "anna", ["item-00", "item-05"], ["item-04"])
    assert ids(service.post("/recommend", json={"user_id": "anna", "n": 3})) == ["item-06", "item-03", "item-07"]
    both = service.post("/recommend", json={"user_id": "anna", "n": 3, "exclude_seen": False})
    assert ids(both) == ["item-05", "item-04", "item-06"]
    some = service.post("/recommend", json={"user_id": "anna", "n": 2, "exclude_items": ["item-06", "no such item"]})
    assert ids(some) == ["item-03", "item-07"]


def test_a_history_in_the_request_replaces_the_stored_one_and_both_count_as_seen(
    service: httpx.Client, client_of_redis: redis.Redis, service_keys: RedisKeys
) -> None:
    remember(client_of_redis, service_keys, "bert", ["item-09"], ["item-08"])
    response = service.post("/recommend", json={"user_id": "bert", "history": ["item-10"], "n": 2})
    assert ids(response) == ["item-11", "item-07"]


def test_an_unknown_user_gets_the_popular_items_and_is_told(service: httpx.Client) -> None:
    response = service.post("/recommend", json={"user_id": "nobody", "n": 2, "exclude_items": ["item-10"]})
    body = response.json()
    assert response.status_code == 200
    assert ids(response) == ["item-11", "item-09"]
    assert (body["source"], body["fallback_reason"]) == ("fallback:popular", "unknown_user")
    assert body["degraded"] is False
    assert body["items"][0]["score"] is None
    assert body["items"][0]["log_prob"] is None


@pytest.mark.parametrize(
    ("history", "reason", "unknown"), [([], "empty_history", 0), (["gone-1", "gone-2"], "no_known_items", 2)]
)
def test_nothing_to_decode_from_is_told(service: httpx.Client, history: list[str], reason: str, unknown: int) -> None:
    body = service.post("/recommend", json={"history": history, "n": 1}).json()
    assert (body["source"], body["fallback_reason"]) == ("fallback:popular", reason)
    assert (body["unknown_history_items"], body["history_length"]) == (unknown, 0)


def test_unknown_items_of_a_history_are_skipped_and_counted(service: httpx.Client) -> None:
    body = service.post("/recommend", json={"history": ["item-05", "gone"], "n": 1}).json()
    assert (body["source"], body["unknown_history_items"], body["history_length"]) == ("model", 1, 1)


def test_a_narrower_choice_than_n_is_said_and_never_padded(service: httpx.Client) -> None:
    left_out = [f"item-{row:02d}" for row in range(10)]
    body = service.post("/recommend", json={"history": ["item-05"], "n": 5, "exclude_items": left_out}).json()
    assert (body["returned"], body["exhausted"]) == (2, True)
    everything = [f"item-{row:02d}" for row in range(12)]
    body = service.post("/recommend", json={"history": ["item-05"], "n": 5, "exclude_items": everything}).json()
    assert (body["items"], body["exhausted"], body["source"]) == ([], True, "model")


def test_metadata_only_where_wanted_and_known(service: httpx.Client) -> None:
    untitled = service.post("/recommend", json={"history": ["item-01"], "n": 1}).json()["items"][0]
    assert (untitled["item_id"], untitled["title"], untitled["categories"]) == ("item-00", None, ["category-0"])
    bare = service.post("/recommend", json={"history": ["item-05"], "n": 1, "include_metadata": False}).json()
    assert (bare["items"][0]["title"], bare["items"][0]["categories"]) == (None, None)


def test_a_wider_beam_may_be_asked_for(service: httpx.Client) -> None:
    body = service.post("/recommend", json={"history": ["item-05"], "n": 11, "beam_width": 20}).json()
    assert (body["returned"], body["exhausted"]) == (11, False)


def test_request_ids(service: httpx.Client) -> None:
    body = {"history": ["item-05"]}
    taken = service.post("/recommend", json=body, headers={"X-Request-ID": "abc:1"})
    assert taken.headers["X-Request-ID"] == taken.json()["request_id"] == "abc:1"
    replaced = service.post("/recommend", json=body, headers={"X-Request-ID": "a b" * 100})
    assert len(replaced.headers["X-Request-ID"]) == 32
    from_body = service.post("/recommend", json={**body, "request_id": "mine"}, headers={"X-Request-ID": "abc"})
    assert from_body.headers["X-Request-ID"] == from_body.json()["request_id"] == "mine"


def test_info_says_what_runs(service: httpx.Client, service_keys: RedisKeys) -> None:
    info = service.get("/info").json()
    assert (info["device"], info["provider"]) == ("auto", "FakeExecutionProvider")
    assert info["release"]["version"] == "v1"
    assert (info["release"]["num_items"], info["release"]["beam_widths"]) == (12, [10, 20])
    assert info["limits"]["max_n"] == 100
    assert info["redis"] == {"kind": "external", "namespace": service_keys.namespace}


def test_live_and_ready(service: httpx.Client) -> None:
    assert service.get("/health/live").json() == {"live": True}
    assert service.get("/health/ready").json() == {
        "ready": True,
        "degraded": False,
        "reasons": [],
        "message": None,
        "release": "v1",
    }


def test_the_documented_examples_are_accepted(service: httpx.Client) -> None:
    examples = service.get("/openapi.json").json()["components"]["schemas"]["RecommendRequest"]["examples"]
    for example in examples:
        status = service.post("/recommend", json={**example, "beam_width": None, "n": 5}).status_code
        assert status == 200


def test_a_key_of_another_type_degrades_the_answer(
    service: httpx.Client, client_of_redis: redis.Redis, service_keys: RedisKeys
) -> None:
    client_of_redis.set(service_keys.history("odd"), "no list")
    body = service.post("/recommend", json={"user_id": "odd", "n": 1}).json()
    assert (body["degraded"], body["fallback_reason"]) == (True, "history_unavailable")
