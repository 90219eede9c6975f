"""`/users/{id}/history` as its callers see it."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import redis
from fastapi import FastAPI

from service.app import create_app
from service.contract.event_stream import Forgotten, StoredEvent, read_entry
from service.contract.redis_keys import HISTORY_CAP, RedisKeys, event_partition
from service.contract.release_store import ReleaseStore
from service.redis_connection import RETRY_SPREAD_SECONDS
from service.settings import Settings

Running = Callable[[FastAPI], AbstractContextManager[httpx.Client]]


def url(user_id: str) -> str:
    return f"/users/{quote(user_id, safe='')}/history"


def put(service: httpx.Client, user_id: str, history: list[str]) -> httpx.Response:
    return service.put(url(user_id), json={"history": history})


def test_an_unknown_user_has_an_empty_history(service: httpx.Client) -> None:
    response = service.get(url("nobody"))
    assert response.status_code == 200
    assert response.json() == {"user_id": "nobody", "history": [], "history_length": 0, "seen_count": 0}


def test_put_get_recommend_delete(service: httpx.Client, client_of_redis: redis.Redis, service_keys: RedisKeys) -> None:
    stored = {"user_id": "anna", "history": ["item-09", "item-05"], "history_length": 2, "seen_count": 2}
    assert put(service, "anna", ["item-09", "item-05"]).json() == stored
    assert service.get(url("anna")).json() == stored
    answer = service.post("/recommend", json={"user_id": "anna", "n": 1}).json()
    assert answer["items"][0]["item_id"] == "item-04"
    gone = service.delete(url("anna"))
    assert (gone.status_code, gone.content) == (204, b"")
    assert client_of_redis.exists(service_keys.history("anna"), service_keys.seen("anna")) == 0
    assert service.post("/recommend", json={"user_id": "anna", "n": 1}).json()["fallback_reason"] == "unknown_user"
    assert service.delete(url("anna")).status_code == 204


def test_who_is_forgotten_leaves_a_tombstone_behind_the_events(
    service: httpx.Client, client_of_redis: redis.Redis, service_keys: RedisKeys
) -> None:
    service.post("/events", json={"events": [{"user_id": "fred", "item_id": "item-00"}]})
    assert service.delete(url("fred")).status_code == 204
    partitions = Settings.model_fields["event_stream_partitions"].default
    entries: list[Any] = client_of_redis.xrange(service_keys.events(event_partition("fred", partitions)))
    found = [read_entry(fields) for _, fields in entries]
    event, tombstone = [entry for entry in found if entry.user_id == "fred"]
    assert (type(event), type(tombstone)) == (StoredEvent, Forgotten)
    assert 0 <= tombstone.time_ms - event.time_ms < 60_000


def test_put_replaces_history_and_seen(service: httpx.Client) -> None:
    put(service, "bert", ["item-01", "item-02"])
    assert put(service, "bert", ["item-03"]).json()["seen_count"] == 1
    assert put(service, "bert", []).json()["history"] == []
    assert service.get(url("bert")).json()["seen_count"] == 0


def test_an_event_follows_what_was_put(service: httpx.Client) -> None:
    put(service, "carl", ["item-01", "item-02"])
    service.post("/events", json={"events": [{"user_id": "carl", "item_id": "item-00"}]})
    assert service.get(url("carl")).json()["history"] == ["item-01", "item-02", "item-00"]


def test_a_long_history_keeps_its_newest_items_and_all_are_seen(service: httpx.Client) -> None:
    answer = put(service, "dora", [f"i{at}" for at in range(1000)]).json()
    assert answer["history"] == [f"i{at}" for at in range(1000 - HISTORY_CAP, 1000)]
    assert (answer["history_length"], answer["seen_count"]) == (HISTORY_CAP, 1000)


@pytest.mark.parametrize(
    ("mode", "kept"), [("keep_first", ["a", "b"]), ("move_to_end", ["b", "a"]), ("keep_all", ["a", "b", "a"])]
)
def test_repeats_are_kept_as_set(
    settings: Settings, running: Running, fake_decoder: Any, wait_for: Any, mode: str, kept: list[str]
) -> None:
    chosen = settings.model_copy(update={"history_duplicates": mode})
    with running(create_app(chosen, decoder_factory=fake_decoder)) as client:
        wait_for(lambda: client.get("/health/ready").json()["reasons"] == ["no_release"])
        assert put(client, "anna", ["a", "b", "a"]).json()["history"] == kept
        events = [{"user_id": "bert", "item_id": item} for item in ("a", "b", "a")]
        client.post("/events", json={"events": events})
        assert client.get(url("bert")).json()["history"] == kept


@pytest.mark.parametrize(
    "user_id", ["a/b", "/", "a/history", "ü ñ 漢字 🎉", "{a}", "}x", "%2F", "a?b#c", "a\nb\r\n", "u" * 256]
)
def test_ids_of_any_letters_stand_percent_encoded_in_the_path(service: httpx.Client, user_id: str) -> None:
    assert put(service, user_id, ["item-05"]).json()["user_id"] == user_id
    assert service.get(url(user_id)).json()["history"] == ["item-05"]
    assert service.post("/recommend", json={"user_id": user_id, "n": 1}).json()["items"][0]["item_id"] == "item-04"
    assert service.delete(url(user_id)).status_code == 204


@pytest.mark.parametrize(
    ("path", "named"),
    [("%FF", "user_id: must be UTF-8"), ("u" * 257, "user_id: String should have at most 256"), ("", "at least 1")],
)
def test_an_id_that_is_none(service: httpx.Client, path: str, named: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        body = {"json": {"history": []}} if method == "PUT" else {}
        response = service.request(method, f"/users/{path}/history", **body)
        assert response.status_code == 422, response.text
        assert named in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ({}, 422, ["history:", "required"]),
        ({"history": "item-1"}, 422, ["history:", "list"]),
        ({"history": None}, 422, ["history:", "list"]),
        ({"history": ["a", 3]}, 422, ["history.1:", "string"]),
        ({"history": [""]}, 422, ["history.0:", "at least 1 character"]),
        ({"history": ["i" * 257]}, 422, ["history.0:", "at most 256"]),
        ({"history": ["\ud800"]}, 422, ["history.0:"]),
        ({"history": ["a"] * 1001}, 422, ["history:", "at most 1000"]),
        ({"histroy": []}, 422, ["'histroy': no such field", "history"]),
        ([], 400, ["no JSON object"]),
    ],
)
def test_a_wrong_body_is_named(service: httpx.Client, body: Any, status: int, named: list[str]) -> None:
    headers = {"Content-Type": "application/json"}
    response = service.put("/users/erna/history", content=json.dumps(body), headers=headers)
    assert response.status_code == status
    for text in named:
        assert text in response.json()["error"]["message"]


def test_the_documented_examples_are_accepted(service: httpx.Client) -> None:
    schemas = service.get("/openapi.json").json()["components"]["schemas"]
    for example in schemas["HistoryRequest"]["examples"]:
        assert service.put(url("example"), json=example).status_code == 200
    assert set(schemas["HistoryResponse"]["examples"][0]) == set(schemas["HistoryResponse"]["properties"])


def test_a_key_of_another_type_is_told(
    service: httpx.Client, client_of_redis: redis.Redis, service_keys: RedisKeys
) -> None:
    client_of_redis.set(service_keys.history("odd"), "text")
    for response in (service.get(url("odd")), put(service, "odd", ["a"])):
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "redis_unavailable"
        assert "cannot be reached" not in response.text  # that would be another problem
    assert client_of_redis.get(service_keys.history("odd")) == b"text"
    assert service.delete(url("odd")).status_code == 204  # and this cures it
    assert put(service, "odd", ["a"]).status_code == 200


def test_while_redis_is_away_nothing_is_answered_from_memory_and_who_is_forgotten_stays_so(
    own_redis: Any, namespace: str, running: Running, wait_for: Any, publish_to: Any, fake_decoder: Any
) -> None:
    own_redis.start()
    with redis.Redis.from_url(own_redis.url) as client_of_redis:
        publish_to(ReleaseStore(client_of_redis, RedisKeys(namespace)), "v1")
    settings = Settings(redis_url=own_redis.url, namespace=namespace, release_poll_seconds=0.05)
    with running(create_app(settings, decoder_factory=fake_decoder)) as client:
        wait_for(lambda: client.get("/health/ready").status_code == 200)
        put(client, "anna", ["item-05"])
        put(client, "bert", ["item-05"])
        client.delete(url("bert"))
        own_redis.kill()
        for response in (client.get(url("anna")), put(client, "anna", ["a"]), client.delete(url("anna"))):
            assert response.status_code == 503
            assert 1 <= int(response.headers["Retry-After"]) <= RETRY_SPREAD_SECONDS
            assert response.json()["error"]["code"] == "redis_unavailable"
        known = client.post("/recommend", json={"user_id": "anna", "n": 1}).json()
        assert (known["items"][0]["item_id"], known["degraded"]) == ("item-04", True)
        forgotten = client.post("/recommend", json={"user_id": "bert", "n": 1}).json()
        assert forgotten["fallback_reason"] == "history_unavailable"


@pytest.mark.parametrize("method", ["OPTIONS", "PATCH", "POST"])
def test_another_method_is_told_all_that_there_are(service: httpx.Client, method: str) -> None:
    response = service.request(method, url("anna"))
    assert (response.status_code, response.headers["Allow"]) == (405, "DELETE, GET, PUT")
    assert "it takes: DELETE, GET, PUT" in response.json()["error"]["message"]
