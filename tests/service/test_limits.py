"""What stands at a limit is answered, odd as it may be; what stands beyond is refused (more in test_errors.py)."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

JSON = {"Content-Type": "application/json"}
LIMITS = {
    "max_n": 100,
    "max_history": 1000,
    "max_exclude_items": 10_000,
    "max_candidates": 10_000,
    "max_categories": 100,
    "max_id_length": 256,
    "max_batch_requests": 32,
    "max_deadline_ms": 60_000,
}


def test_the_limits_are_told(service: httpx.Client) -> None:
    told = service.get("/info").json()["limits"]
    assert {name: told[name] for name in LIMITS} == LIMITS


@pytest.mark.parametrize(
    "asked",
    [
        {"history": ["item-05"] * 1000},
        {"history": ["item-05"], "exclude_items": ["item-06"] * 10_000},
        {"history": ["item-05"], "candidates": ["item-06"] * 10_000},
        {"history": ["item-05"], "categories": {kind: ["category-0"] * 100 for kind in ("any", "all")}},
        {"history": ["i" * 256], "user_id": "u" * 256},
        {"history": ["item-05"], "deadline_ms": 60_000},
        {"history": ["item-05"], "n": 10, "beam_width": 10},
        {"history": ["item-05"], "n": 1, "offset": 19, "beam_width": 20},
        {"history": ["\x00", "\U0001f600", "‮", "item-05 ", " "], "user_id": "\x00\n\r"},
        {"user_id": "{user}:*", "history": []},
        {"user_id": None, "history": []},
        {"history": [], "candidates": None, "categories": None, "beam_width": None, "deadline_ms": None},
    ],
)
def test_what_stands_at_a_limit_is_answered(service: httpx.Client, asked: dict[str, Any]) -> None:
    response = service.post("/recommend", json=asked)
    assert response.status_code == 200, response.text


def test_what_is_said_twice_counts_once(service: httpx.Client) -> None:
    once = {"history": ["item-01", "item-05"], "candidates": ["item-02", "item-08"], "exclude_items": ["item-08"]}
    twice = {name: [*ids, *ids] for name, ids in once.items()}
    first, second = (service.post("/recommend", json=asked).json() for asked in (once, twice))
    assert second["items"] == first["items"]
    assert second["history_length"] == first["history_length"] == 2


def test_a_category_that_no_item_has_is_no_error(service: httpx.Client) -> None:
    for kind, count in (("any", 0), ("all", 0), ("none", 10)):
        body = service.post("/recommend", json={"history": ["item-05"], "categories": {kind: ["no such"]}}).json()
        assert (body["returned"], body["exhausted"]) == (count, count == 0)


@pytest.mark.parametrize("depth", [10, 150, 250, 5000, 200_000])
def test_deep_json_is_refused_whatever_its_depth(service: httpx.Client, depth: int) -> None:
    content = b'{"history": ' + b"[" * depth + b"]" * depth + b"}"
    response = service.post("/recommend", content=content, headers=JSON)
    assert response.status_code in (400, 422)
    assert response.json()["error"]["code"] in ("malformed_body", "validation_failed")
    assert len(response.text) < 2000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
FIELDS = ["user_id", "history", "n", "offset", "exclude_seen", "exclude_items", "categories", "candidates"]
FIELDS += ["beam_width", "include_metadata", "explain", "deadline_ms", "request_id", "requests"]


@given(body=st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=5), batch=st.booleans())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_body_whatsoever_is_a_fault_of_the_service(service: httpx.Client, body: dict[str, Any], batch: bool) -> None:
    content = json.dumps({"requests": [body]} if batch else body)
    response = service.post("/recommend/batch" if batch else "/recommend", content=content, headers=JSON)
    assert response.status_code in (200, 400, 413, 422, 429, 504)
    if response.status_code != 200:
        assert set(response.json()["error"]) == {"type", "code", "message", "retryable", "request_id"}
