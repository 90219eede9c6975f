"""Bad input over real HTTP: every error has the one shape, names the thing and the cure, and shows no traceback."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.settings import Settings


def error_of(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert "Traceback" not in response.text
    body = response.json()
    assert set(body) == {"error"}
    error: dict[str, Any] = body["error"]
    assert set(error) == {"type", "code", "message", "retryable", "request_id"}
    assert error["request_id"] == response.headers["X-Request-ID"]
    return error


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"{", "character 1"),
        (b"user_id=anna", "no JSON"),
        (b"", "no JSON object"),
        (b"[1]", "no JSON object"),
        (b'"anna"', "no JSON object"),
        (b"null", "no JSON object"),
        (b"\xff\xfe{", "UTF-8"),
        (b"[" * 100_000, "JSON"),
        (b'{"n": ' + b"9" * 5000 + b"}", "JSON"),
    ],
)
def test_a_body_that_is_no_json_object(service: httpx.Client, body: bytes, named: str) -> None:
    error = error_of(service.post("/recommend", content=body, headers={"Content-Type": "application/json"}), 400)
    assert (error["code"], error["retryable"]) == ("malformed_body", False)
    assert named in error["message"]
    assert "send" in error["message"]


def test_a_body_without_its_content_type_is_told_so(service: httpx.Client) -> None:
    as_form = {"Content-Type": "application/x-www-form-urlencoded"}
    error = error_of(service.post("/recommend", content=b'{"user_id": "anna"}', headers=as_form), 400)
    assert "Content-Type: application/json" in error["message"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"user_id": "a", "n": 0}, ["n:", "greater than or equal to 1", "it is 0"]),
        ({"user_id": "a", "n": -3}, ["n:", "it is -3"]),
        ({"user_id": "a", "n": "10"}, ["n:", "integer", "it is '10'"]),
        ({"user_id": "a", "n": True}, ["n:", "integer"]),
        ({"user_id": "a", "n": 2.5}, ["n:", "integer"]),
        ({"user_id": "a", "n": None}, ["n:", "None"]),
        ({}, ["give user_id, history or both"]),
        ({"n": 3}, ["give user_id, history or both"]),
        ({"user_id": ""}, ["user_id:", "at least 1 character"]),
        ({"user_id": "u" * 257}, ["user_id:", "at most 256", "..."]),
        ({"user_id": 7}, ["user_id:", "string", "it is 7"]),
        ({"user_id": "a", "hitsory": []}, ["'hitsory': no such field", "history"]),
        ({"user_id": "a", "categories": {"nones": []}}, ["'nones': no such field of categories, the nearest is none"]),
        ({"user_id": "a", "offset": -1}, ["offset:", "greater than or equal to 0", "it is -1"]),
        ({"user_id": "a", "deadline_ms": 9}, ["deadline_ms:", "greater than or equal to 10"]),
        ({"user_id": "a", "deadline_ms": 60_001}, ["deadline_ms:", "less than or equal to 60000"]),
        ({"user_id": "a", "deadline_ms": 1.5}, ["deadline_ms:", "integer"]),
        ({"user_id": "a", "explain": 1}, ["explain:", "boolean"]),
        ({"user_id": "a", "candidates": ["x"] * 10_001}, ["candidates:", "10000"]),
        ({"user_id": "a", "categories": ["c"] * 101}, ["categories", "100"]),
        ({"user_id": "a", "categories": "kitchen"}, ["categories"]),
        ({"history": ["a", 3]}, ["history.1:", "string"]),
        ({"history": ["a"] * 1001}, ["history:", "at most 1000"]),
        ({"history": "item-1"}, ["history:", "list"]),
        ({"user_id": "a", "exclude_items": ["x"] * 10_001}, ["exclude_items:", "10000"]),
        ({"user_id": "a", "exclude_seen": "yes"}, ["exclude_seen:", "boolean"]),
        ({"user_id": "a", "beam_width": 0}, ["beam_width:", "greater than or equal to 1"]),
        ({"user_id": "a", "request_id": "a b"}, ["request_id:", "pattern"]),
    ],
)
def test_a_wrong_field_is_named_with_its_value_and_limit(
    service: httpx.Client, body: dict[str, Any], named: list[str]
) -> None:
    error = error_of(service.post("/recommend", json=body), 422)
    assert error["code"] == "validation_failed"
    for text in named:
        assert text in error["message"]


@pytest.mark.parametrize("field", ["user_id", "request_id", "n", "no_such_\ud800"])
def test_a_lone_surrogate_is_a_wrong_value_like_any_other(service: httpx.Client, field: str) -> None:
    content = json.dumps({"user_id": "a"} | {field: "\ud800"})  # as \ud800, which is legal JSON
    error = error_of(service.post("/recommend", content=content, headers={"Content-Type": "application/json"}), 422)
    assert error["code"] == "validation_failed"


def test_many_wrong_fields_are_counted_not_listed(service: httpx.Client) -> None:
    message = error_of(service.post("/recommend", json={"history": [1] * 50}), 422)["message"]
    assert "history.4" in message
    assert "history.5" not in message
    assert "and 45 more" in message


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"n": 101}, ["n: 101", "limit", "100", "MMGREC_MAX_N"]),
        ({"n": 11}, ["n: 11", "beam width, 10", "beam_width 20"]),
        ({"n": 21, "beam_width": 20}, ["n: 21", "beam width, 20", "fewer items"]),
        ({"n": 5, "beam_width": 7}, ["beam_width: 7", "v1", "10, 20"]),
        ({"n": 10**30}, ["n: 1000000000000", "MMGREC_MAX_N"]),
        ({"n": 5, "offset": 6}, ["offset + n: 11", "beam width, 10", "beam_width 20"]),
        ({"n": 1, "offset": 10**18}, ["offset + n: 1000000000000000001", "100", "MMGREC_MAX_N"]),
    ],
)
def test_more_than_the_release_offers(service: httpx.Client, asked: dict[str, Any], named: list[str]) -> None:
    response = service.post("/recommend", json={"user_id": "a", **asked})
    error = error_of(response, 422)
    assert error["code"] == "limit_exceeded"
    assert response.headers["X-Release"] == "v1"
    for text in named:
        assert text in error["message"]


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_that_is_too_large(service: httpx.Client, declared: bool) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * 65_536

    content = b" " * 2_621_440 if declared else pieces()
    error = error_of(service.post("/recommend", content=content, headers={"Content-Type": "application/json"}), 413)
    assert error["code"] == "body_too_large"
    assert "2097152 bytes" in error["message"]
    assert "MMGREC_MAX_BODY_BYTES" in error["message"]


def test_no_such_route_and_no_such_method(service: httpx.Client) -> None:
    assert "/docs" in error_of(service.get("/recomend"), 404)["message"]
    response = service.get("/recommend")
    assert "POST" in error_of(response, 405)["message"]
    assert response.headers["Allow"] == "POST"


def test_an_unforeseen_error_is_told_to_the_log_and_not_to_the_caller(
    settings: Settings,
    publish: Callable[[str], None],
    running: Callable[[FastAPI], AbstractContextManager[httpx.Client]],
    wait_for: Callable[[Callable[[], Any]], Any],
    fake_decoder: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class FailingDecoder(fake_decoder):  # type: ignore[misc]
        def decode(self, histories: Any, filters: Any, *, beam_width: int) -> Any:
            if histories[0].tolist() == [5]:  # neither the self-test nor the warm-up has such a one
                raise RuntimeError("the secret of the device")
            return super().decode(histories, filters, beam_width=beam_width)

    publish("v1")
    with running(create_app(settings, decoder_factory=FailingDecoder)) as client:
        wait_for(lambda: client.get("/health/ready").status_code == 200)
        response = client.post("/recommend", json={"history": ["item-05"]}, headers={"X-Request-ID": "find-me"})
        error = error_of(response, 500)
        assert (error["type"], error["code"], error["request_id"]) == ("internal", "internal_error", "find-me")
        assert "secret" not in response.text
        assert client.get("/health/live").status_code == 200
    assert "request find-me failed" in caplog.text
    assert "the secret of the device" in caplog.text
