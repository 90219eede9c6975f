"""Pages, batches of requests, health under all its names, and what the OpenAPI document promises: real HTTP."""

from typing import Any

import httpx
import pytest

from service.app import create_app
from service.contract.redis_keys import RedisKeys


def ids(response: httpx.Response) -> list[str]:
    return [item["item_id"] for item in response.json()["items"]]


@pytest.mark.parametrize(
    "asked", [{"history": ["item-05"]}, {"history": []}, {"history": [], "categories": ["category-1"]}]
)
def test_pages_are_pieces_of_one_ranking(service: httpx.Client, asked: dict[str, Any]) -> None:
    whole = service.post("/recommend", json=asked | {"n": 10}).json()["items"]
    pages = [service.post("/recommend", json=asked | {"n": 3, "offset": offset}).json() for offset in (0, 3, 6)]
    found = [item for page in pages for item in page["items"]]
    assert found == whole[:9]
    assert [item["rank"] for item in found] == list(range(1, len(found) + 1))


def test_a_page_behind_the_end_is_empty_and_says_so(service: httpx.Client) -> None:
    few = {"history": ["item-05"], "candidates": ["item-01", "item-02"], "n": 3}
    last = service.post("/recommend", json=few | {"offset": 1}).json()
    assert ([item["rank"] for item in last["items"]], last["exhausted"]) == ([2], True)
    behind = service.post("/recommend", json=few | {"offset": 7}).json()
    assert (behind["items"], behind["returned"], behind["exhausted"]) == ([], 0, True)


def test_times_stand_in_the_headers(service: httpx.Client) -> None:
    decoded = service.post("/recommend", json={"history": ["item-05"]}).headers
    total, queue, inference = (float(decoded[f"x-{name}-time"]) for name in ("total", "queue", "inference"))
    assert total >= queue + inference > 0
    popular = service.post("/recommend", json={"history": []}).headers
    assert "x-total-time" in popular
    assert "x-inference-time" not in popular


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ({"requests": [{"history": []}] * 33}, 413, ["requests", "at most 32"]),
        ({"requests": []}, 422, ["requests", "at least 1"]),
        ({}, 422, ["requests", "required"]),
        ({"requests": [{"user_id": "a"}, {"user_id": "a", "n": 0}]}, 422, ["requests.1.n", "it is 0"]),
        ({"requests": [{"user_id": "a"}, {"n": 3}]}, 422, ["requests.1", "give user_id, history or both"]),
        ({"requests": [{"user_id": "a"}, {"user_id": "a", "n": 11}]}, 422, ["requests.1.n: 11", "beam_width 20"]),
        ({"requests": [{"user_id": "a", "ofset": 1}]}, 422, ["'ofset': no such field of requests.0", "offset"]),
        ({"requests": [{"user_id": "a"}], "n": 3}, 422, ["'n': no such field", "requests"]),
        ({"requests": {"user_id": "a"}}, 422, ["requests", "list"]),
        ([{"user_id": "a"}], 400, ["no JSON object"]),
    ],
)
def test_a_wrong_batch_fails_whole_and_names_the_request(
    service: httpx.Client, body: Any, status: int, named: list[str]
) -> None:
    response = service.post("/recommend/batch", json=body)
    error = response.json()["error"]
    assert response.status_code == status, error
    assert error["code"] == {400: "malformed_body", 413: "batch_too_large"}.get(status, error["code"])
    for text in named:
        assert text in error["message"]


@pytest.mark.parametrize(
    ("path", "like"), [("/livez", "/health/live"), ("/readyz", "/health/ready"), ("/health", "/health/ready")]
)
def test_health_has_other_names(service: httpx.Client, path: str, like: str) -> None:
    assert service.get(path).json() == service.get(like).json()
    assert service.get(path).status_code == 200


def test_the_open_inference_protocol(service: httpx.Client, service_keys: RedisKeys) -> None:
    name = service_keys.namespace
    assert service.get("/v2").json().keys() == {"name", "version", "extensions"}
    assert service.get("/v2/health/live").json() == {"live": True}
    assert service.get("/v2/health/ready").json() == {"ready": True}
    assert service.get(f"/v2/models/{name}/ready").json() == {"name": name, "ready": True}
    assert service.get(f"/v2/models/{name}/versions/v1/ready").status_code == 200
    for unknown in ("other/ready", f"{name}/versions/v9/ready"):
        assert service.get(f"/v2/models/{unknown}").json()["error"]["code"] == "not_found"


def test_who_is_not_ready_says_so_under_every_name(
    settings: Any, running: Any, wait_for: Any, fake_decoder: Any
) -> None:
    with running(create_app(settings, decoder_factory=fake_decoder)) as client:
        wait_for(lambda: client.get("/readyz").json()["reasons"] == ["no_release"])
        for path in ("/health", "/v2/health/ready", f"/v2/models/{settings.namespace}/ready"):
            response = client.get(path)
            assert (response.status_code, response.json()["ready"]) == (503, False)
            assert int(response.headers["Retry-After"]) >= 1
        for path in ("/items/x", "/items/x/similar"):
            assert client.get(path).json()["error"]["code"] == "no_release"


@pytest.fixture(scope="module")
def document(service: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = service.get("/openapi.json").json()
    return found


def test_every_body_has_an_example_that_is_accepted(service: httpx.Client, document: dict[str, Any]) -> None:
    bodies = {
        path: next(iter(operation["requestBody"]["content"].values()))["schema"]["$ref"].rpartition("/")[2]
        for path, operations in document["paths"].items()
        for operation in operations.values()
        if "requestBody" in operation
    }
    assert bodies["/recommend/batch"] == "BatchRequest"
    for path in ("/recommend", "/recommend/batch"):
        examples = document["components"]["schemas"][bodies[path]]["examples"]
        assert examples
        for example in examples:
            accepted = example | (
                {"beam_width": None} if "beam_width" in example else {}
            )  # the tiers are the release's
            assert service.post(path, json=accepted).status_code == 200, example


def test_the_document_says_that_somebody_must_be_named(document: dict[str, Any]) -> None:
    choices = document["components"]["schemas"]["RecommendRequest"]["anyOf"]
    assert [choice["required"] for choice in choices] == [["user_id"], ["history"]]


@pytest.mark.parametrize(
    ("path", "method", "statuses"),
    [
        ("/recommend", "post", {200, 400, 413, 422, 429, 500, 503, 504}),
        ("/recommend/batch", "post", {200, 400, 413, 422, 429, 500, 503, 504}),
        ("/items/{item_id}", "get", {200, 404, 422, 500, 503}),
        ("/items/{item_id}/similar", "get", {200, 404, 422, 429, 500, 503, 504}),
        ("/health/ready", "get", {200, 503}),
        ("/v2/models/{name}/ready", "get", {200, 404, 503}),
    ],
)
def test_the_document_names_every_status(document: dict[str, Any], path: str, method: str, statuses: set[int]) -> None:
    responses = document["paths"][path][method]["responses"]
    assert statuses <= set(map(int, responses))
    for status, response in responses.items():
        schema = response["content"]["application/json"]["schema"]
        assert schema["$ref"].startswith("#/components/schemas/"), (path, status)
