"""Items by id, items like an item, and ids that a path has trouble with: real HTTP."""

from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest

from service.contract.item_table import ItemTable

ODD_IDS = ("a/b", "similar", "x/similar", "/", "%2F", "ein Ä & ß?", "..", "日本/語", "a+b#c", " ", "x\n")


def ids(response: httpx.Response) -> list[str]:
    return [item["item_id"] for item in response.json()["items"]]


def error_of(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    error: dict[str, Any] = response.json()["error"]
    return error


def test_an_item_is_described(service: httpx.Client) -> None:
    response = service.get("/items/item-07")
    assert response.json() == {
        "item_id": "item-07",
        "title": "Title 7",
        "categories": ["category-1"],
        "rec_id": [1, 0, 1],
        "train_count": 70,
        "release": "v1",
    }
    assert response.headers["X-Release"] == "v1"
    assert service.get("/items/item-00").json()["title"] is None


def test_similar_items_come_from_the_model_and_never_hold_the_item(service: httpx.Client) -> None:
    response = service.get("/items/item-05/similar", params={"n": 3})
    body = response.json()
    assert (ids(response), body["source"], body["release"]) == (["item-04", "item-06", "item-03"], "model", "v1")
    assert body["request_id"] == response.headers["X-Request-ID"]
    asked = service.post("/recommend", json={"history": ["item-05"], "n": 3}).json()
    assert body["items"] == asked["items"]


def test_similar_items_take_the_fields_of_a_recommendation(service: httpx.Client) -> None:
    params: dict[str, Any] = {"n": 2, "offset": 1, "categories": ["category-1", "no such"], "explain": True}
    body = service.get("/items/item-05/similar", params=params | {"include_metadata": False}).json()
    assert [(item["item_id"], item["rank"]) for item in body["items"]] == [("item-07", 2), ("item-01", 3)]
    assert body["items"][0]["title"] is None
    assert body["items"][0]["explanation"]["rec_id"] == [1, 0, 1]
    wide = service.get("/items/item-05/similar", params={"n": 11, "beam_width": 20})
    assert wide.json()["returned"] == 11


@pytest.mark.parametrize(
    "path", ["/items/gone", "/items/item-05%0A", "/items/gone/similar", "/items/item-05/similar/x", "/items/%ff"]
)
def test_an_unknown_item_is_404(service: httpx.Client, path: str) -> None:
    error = error_of(service.get(path), 404)
    assert error["code"] == "unknown_item"
    assert "release v1" in error["message"]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("n=0", "greater than or equal to 1"),
        ("n=x", "integer"),
        ("n=11", "beam_width 20"),
        ("offset=-1", "offset"),
        ("beam_width=7", "10, 20"),
        ("ofset=3", "'ofset': no such field, the nearest is offset"),
        ("deadline_ms=0", "deadline_ms"),
        ("deadline_ms=60001", "60000"),
        ("explain=perhaps", "boolean"),
        ("categories=", "at least 1 character"),
        ("&".join(f"categories={number}" for number in range(101)), "at most 100"),
    ],
)
def test_a_wrong_parameter_is_named(service: httpx.Client, query: str, named: str) -> None:
    assert named in error_of(service.get(f"/items/item-05/similar?{query}"), 422)["message"]


@pytest.mark.parametrize("path", ["/items/", "/items/" + "x" * 257])
def test_an_id_that_no_item_may_have_is_422(service: httpx.Client, path: str) -> None:
    assert error_of(service.get(path), 422)["code"] == "validation_failed"


def test_ids_with_slashes_and_anything_else_stand_percent_encoded(
    own_service: httpx.Client, publish: Any, wait_for: Any
) -> None:
    rows = np.arange(12)
    items = ItemTable(
        item_ids=(*ODD_IDS, "x"),
        titles=tuple(f"Title {row}" for row in rows),
        categories=((),) * 12,
        train_counts=rows,
    )
    publish("v2", arrays=items.arrays())
    wait_for(lambda: own_service.get("/info").json()["release"]["version"] == "v2")
    for row, item_id in enumerate(ODD_IDS):
        path = "/items/" + quote(item_id, safe="").replace(".", "%2E")
        assert own_service.get(path).json()["title"] == f"Title {row}", item_id
        similar = own_service.get(path + "/similar", params={"n": 11, "beam_width": 20}).json()
        assert {item["item_id"] for item in similar["items"]} == {*items.item_ids} - {item_id}, item_id
