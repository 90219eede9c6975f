"""The busiest routes go past FastAPI, but nobody can tell: the same answers and the same errors, by either way."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from pydantic import BaseModel

from service.serving.direct import DirectMiddleware

JSON = {"Content-Type": "application/json"}
BY_FASTAPI = {"Content-Type": "application/json; charset=utf-8"}  # is no usual request, so FastAPI answers it


@pytest.mark.parametrize(
    "body",
    [
        {"history": ["item-05"], "n": 3, "explain": True, "request_id": "r"},
        {"history": [], "n": 2, "request_id": "r"},
        {"history": ["item-05"], "n": 11},
        {"history": ["item-05"], "n": 0},
        {"n": 3},
        {"history": ["item-05"], "no": 1},
        [],
        7,
    ],
)
@pytest.mark.parametrize("path", ["/recommend", "/recommend/batch"])
def test_both_ways_answer_alike(service: httpx.Client, path: str, body: Any) -> None:
    content = json.dumps(body if path == "/recommend" else {"requests": [body, body]})
    direct = service.post(path, content=content, headers=JSON | {"X-Request-ID": "call"})
    usual = service.post(path, content=content, headers=BY_FASTAPI | {"X-Request-ID": "call"})
    assert direct.status_code == usual.status_code
    assert without_times(direct.json()) == without_times(usual.json())
    assert direct.headers["content-type"] == usual.headers["content-type"] == "application/json"
    assert set(direct.headers) == set(usual.headers)


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_times(part) for name, part in value.items() if name != "took_ms"}
    return [without_times(part) for part in value] if isinstance(value, list) else value


def test_a_body_in_pieces(service: httpx.Client) -> None:
    def pieces() -> Iterator[bytes]:
        for byte in b'{"history": ["item-05"], "n": 1}':
            yield bytes([byte])

    assert service.post("/recommend", content=pieces(), headers=JSON).json()["items"][0]["item_id"] == "item-04"
    wrong = service.post("/recommend", content=iter([b'{"n":', b" 1"]), headers=JSON)
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "malformed_body")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_what_pydantic_cannot_read_fastapi_may(service: httpx.Client, encoding: str) -> None:
    content = json.dumps({"history": ["item-05"], "n": 1}).encode(encoding)
    assert service.post("/recommend", content=content, headers=JSON).status_code in (200, 400)


class Body(BaseModel):
    fail: bool = False


@pytest.mark.anyio
async def test_the_usual_request_does_go_past_fastapi_and_its_route_is_known() -> None:
    app, seen = FastAPI(), list[str]()

    @app.post("/it")
    async def it(body: Body, request: Request) -> Body:
        seen.append(request.scope["route"].path)
        if body.fail:
            raise KeyError("unforeseen")
        return body

    route = next(route for route in app.routes if getattr(route, "path", "") == "/it")

    async def never(*_: Any) -> None:
        raise AssertionError("it went to FastAPI")

    async def around(scope: Any, receive: Any, send: Any) -> None:
        await DirectMiddleware(never, routes=[route])(scope | {"app": app}, receive, send)

    transport = httpx.ASGITransport(around)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        assert (await client.post("/it", json={})).json() == {"fail": False}
        with pytest.raises(KeyError, match="unforeseen"):
            await client.post("/it", json={"fail": True})
        with pytest.raises(AssertionError, match="FastAPI"):
            await client.post("/it", content=b"{}", headers=BY_FASTAPI)
    assert seen == ["/it", "/it"]
