"""Refusals before there is a request: what is refused so, what is not, and that the connection lives on."""

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from service.__main__ import DrainingServer
from service.app import create_app
from service.serving.admission import Admission
from service.serving.shedding import Shedding
from service.settings import Settings
from service.telemetry.metrics import Metrics
from tests.service.over_sockets import read_all, serving

Running = Callable[[FastAPI], AbstractContextManager[httpx.Client]]
SECONDS = 2.5
BODY = b'{"history": ["item-05"], "n": 1}'
NEXT = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture
def overloaded(
    settings: Settings, publish: Any, running: Running, wait_for: Any, fake_decoder: Any, monkeypatch: Any
) -> Iterator[tuple[FastAPI, httpx.Client]]:
    """A service whose decoder never has time."""
    publish("v1")
    app = create_app(settings.model_copy(update={"max_body_bytes": 500}), decoder_factory=fake_decoder)
    with running(app) as client:
        wait_for(lambda: client.get("/health/ready").status_code == 200)
        monkeypatch.setattr(Admission, "refusal", lambda _: SECONDS)
        yield app, client


def exchange(client: httpx.Client, *sent: bytes) -> bytes:
    """Everything that comes back until the service closes the connection."""
    with closing(socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=20)) as connection:
        for piece in sent:
            connection.sendall(piece)
        return read_all(connection)


def post(headers: bytes = b"", body: bytes = BODY, target: bytes = b"/recommend") -> bytes:
    head = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n"
    return head % (target, len(body), headers) + body


def counted(client: httpx.Client) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("mmgrec_requests_shed_total{"))


@pytest.mark.parametrize("path", ["/recommend", "/recommend/batch"])
def test_a_refusal_says_what_the_gate_says(overloaded: tuple[FastAPI, httpx.Client], path: str) -> None:
    _, client = overloaded
    answers = [
        client.post(path, content=BODY, headers={"X-Request-ID": "mine-1", **more})
        for more in ({}, {"Connection": "close"})
    ]
    shed, gated = answers
    assert shed.status_code == gated.status_code == 429
    assert shed.json() == gated.json()
    assert shed.json()["error"]["request_id"] == "mine-1"
    for name in ("Retry-After", "X-Request-ID", "Content-Type", "Content-Length"):
        assert shed.headers[name] == gated.headers[name]
    assert "Date" in shed.headers
    assert "X-Total-Time" not in shed.headers  # the gate's has it: so these were two different ways
    assert "X-Total-Time" in gated.headers


def test_requests_have_ids_of_their_own(overloaded: tuple[FastAPI, httpx.Client]) -> None:
    _, client = overloaded
    ids = {client.post("/recommend", content=BODY).headers["X-Request-ID"] for _ in range(3)}
    ids.add(client.post("/recommend", content=BODY, headers={"X-Request-ID": "a b"}).headers["X-Request-ID"])
    assert len(ids) == 4


def test_the_connection_lives_on_and_answers_keep_their_order(overloaded: tuple[FastAPI, httpx.Client]) -> None:
    _, client = overloaded
    received = exchange(
        client, post(), post(b"X-Request-ID: second\r\n")[:90], post(b"X-Request-ID: second\r\n")[90:], NEXT
    )
    assert received.count(b"HTTP/1.1 429") == 2
    assert received.count(b"HTTP/1.1 200") == 1
    assert received.rindex(b"HTTP/1.1 429") < received.index(b"HTTP/1.1 200")
    ahead = exchange(client, post() + post() + NEXT)  # sent before the first answer has come
    assert (ahead.count(b"HTTP/1.1 429"), ahead.count(b"HTTP/1.1 200")) == (2, 1)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (post(body=b"x" * 501, headers=b"Connection: close\r\n"), b"429"),  # the gate comes before the body
        (post(headers=b"Expect: 100-continue\r\nConnection: close\r\n"), b"429"),
        (b"POST /recommend HTTP/1.0\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", b"429"),
        (post(target=b"/no-such-route", headers=b"Connection: close\r\n"), b"404"),
        (post(target=b"/events", headers=b"Connection: close\r\n"), b"422"),
        (b"GET /recommend HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"405"),
    ],
    ids=["large", "expect", "HTTP/1.0", "no route", "not decoded", "GET"],
)
def test_the_unusual_goes_its_usual_way(
    overloaded: tuple[FastAPI, httpx.Client], request_: bytes, expected: bytes
) -> None:
    received = exchange(overloaded[1], request_)
    assert received.split(b" ", 2)[1] == expected
    assert b"x-total-time" in received.lower()


def test_of_two_ids_the_last_holds_as_at_the_gate(overloaded: tuple[FastAPI, httpx.Client]) -> None:
    ids = b"X-Request-ID: first\r\nX-Request-ID: last\r\n"
    received = exchange(overloaded[1], post(ids), post(ids + b"Connection: close\r\n"))
    assert received.lower().count(b"x-request-id: last") == 2
    assert b"first" not in received


def test_refusals_are_counted_and_named_in_one_line_a_second(
    overloaded: tuple[FastAPI, httpx.Client], caplog: pytest.LogCaptureFixture
) -> None:
    _, client = overloaded
    before = counted(client)
    for _ in range(3):
        client.post("/recommend", content=BODY)
    assert counted(client) == before + 3
    assert lines_of(caplog)[0].startswith("1 request refused")
    assert "2.500 s" in lines_of(caplog)[0]


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "service.serving.shedding"]


def timed_by(now: list[float], app: FastAPI) -> Shedding:
    """Refusals of an app, by a clock that the test sets."""
    return Shedding(
        app.state.drain,
        lambda: app.state.runtime.admission,
        Metrics(),
        knows=lambda _: True,
        max_body_bytes=500,
        clock=lambda: now[0],
    )


def test_the_end_of_a_burst_is_told_too(
    overloaded: tuple[FastAPI, httpx.Client], caplog: pytest.LogCaptureFixture
) -> None:
    app, _ = overloaded
    now = [100.0]
    shedding = timed_by(now, app)

    def refuse(times: int) -> None:
        for _ in range(times):
            assert shedding.refusal(b"/recommend", 2, None, SECONDS) is not None

    refuse(6)
    shedding.say()
    assert [line.split(" refused")[0] for line in lines_of(caplog)] == ["1 request"]
    now[0] += 1.0
    for _ in range(2):  # the second time there is nothing left
        shedding.say()
    refuse(1)
    shedding.say(at_once=True)
    shedding.say(at_once=True)
    assert [line.split(" refused")[0] for line in lines_of(caplog)] == ["1 request", "5 requests", "1 request"]


def test_the_server_tells_what_is_left_now_and_then_and_when_it_ends(
    overloaded: tuple[FastAPI, httpx.Client], caplog: pytest.LogCaptureFixture, wait_for: Any
) -> None:
    app, _ = overloaded
    now = [100.0]
    shedding = timed_by(now, app)
    server = DrainingServer(uvicorn.Config(app, log_config=None, lifespan="off"), app.state.drain, shedding)
    with serving(server):
        for _ in range(3):
            shedding.refusal(b"/recommend", 2, None, SECONDS)
        now[0] += 1.0
        wait_for(lambda: len(lines_of(caplog)) == 2)
        shedding.refusal(b"/recommend", 2, None, SECONDS)
    assert [line.split(" refused")[0] for line in lines_of(caplog)] == ["1 request", "2 requests", "1 request"]


def test_a_process_that_leaves_refuses_as_one_that_leaves(overloaded: tuple[FastAPI, httpx.Client]) -> None:
    app, client = overloaded
    app.state.drain.begin()
    answer = client.post("/recommend", content=BODY)
    assert answer.headers["Connection"] == "close"
