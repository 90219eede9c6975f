"""Overload, deadlines, callers who leave, a process that leaves: real HTTP, and a decoder that can be held."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from service.app import create_app
from service.edge.layers import Edge
from service.serving.run_times import RunTimes
from service.settings import Settings

Running = Callable[[FastAPI], AbstractContextManager[httpx.Client]]
WaitFor = Callable[[Callable[[], Any]], Any]
ASK = {"history": ["item-05"], "n": 1}


class Held:
    """A running service whose decoder waits in every run of a request while `go` is not set."""

    def __init__(self, fake_decoder: Any) -> None:
        self.go, self.entered = threading.Event(), threading.Event()
        self.go.set()
        self.batches: list[list[list[int]]] = []
        self.callers = ThreadPoolExecutor(64)
        held = self

        class HeldDecoder(fake_decoder):  # type: ignore[misc]
            def decode(self, histories: Any, filters: Any, *, beam_width: int) -> Any:
                if not held.go.is_set():
                    held.batches.append([history.tolist() for history in histories])
                    held.entered.set()
                    assert held.go.wait(20)
                return super().decode(histories, filters, beam_width=beam_width)

        self.factory = HeldDecoder
        self.app: FastAPI
        self.client: httpx.Client

    @property
    def batcher(self) -> Any:
        return self.app.state.runtime.recommender.batcher

    def hold(self) -> None:
        self.go.clear()
        self.entered.clear()

    def ask(self, **fields: Any) -> "Future[httpx.Response]":
        """Ask from another thread, on a connection of its own."""
        return self.callers.submit(httpx.post, f"{self.client.base_url}/recommend", json=ASK | fields, timeout=20)

    def ask_and_hold(self, **fields: Any) -> "Future[httpx.Response]":
        """A request that the decoder is held in."""
        self.hold()
        asked = self.ask(**fields)
        assert self.entered.wait(15)
        return asked


@pytest.fixture
def held(settings: Settings, publish: Any, running: Running, wait_for: WaitFor, fake_decoder: Any) -> Iterator[Held]:
    publish("v1")
    held = Held(fake_decoder)
    held.app = create_app(settings, decoder_factory=held.factory)
    with running(held.app) as held.client:
        wait_for(lambda: held.client.get("/health/ready").status_code == 200)
        yield held
        held.go.set()
        held.callers.shutdown()


def test_requests_that_wait_share_a_run(held: Held, wait_for: WaitFor) -> None:
    first = held.ask_and_hold()
    others = [held.ask(history=[f"item-{row:02d}"]) for row in range(4)]
    wait_for(lambda: held.batcher.queue_length == 4)
    held.hold()
    held.go.set()
    answers = [each.result() for each in (first, *others)]
    assert [answer.status_code for answer in answers] == [200] * 5
    assert held.batches[0] == [[5]]
    assert float(answers[1].headers["x-queue-time"]) > 0
    assert held.batcher.queue_length == 0


def test_a_batch_of_requests_shares_runs_and_each_is_answered_as_alone(held: Held) -> None:
    requests = [{"history": [f"item-{row:02d}"], "n": 3, "request_id": f"r{row}"} for row in range(5)]
    alone = [held.client.post("/recommend", json=each).json() for each in requests]
    held.batches.clear()
    requests[4] = {"history": [], "n": 2}
    response = held.client.post("/recommend/batch", json={"requests": requests}, headers={"X-Request-ID": "call"})
    body = response.json()
    assert response.status_code == 200
    assert body["request_id"] == "call"
    for answer, expected in zip(body["answers"][:4], alone[:4], strict=True):
        assert answer | {"took_ms": 0} == expected | {"took_ms": 0}
    assert (body["answers"][4]["source"], body["answers"][4]["request_id"]) == ("fallback:popular", "call.4")
    assert {"x-queue-time", "x-inference-time", "x-total-time", "x-release"} <= set(response.headers)


def test_a_deadline_is_kept_with_504_and_who_is_late_is_never_decoded(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    held.batcher._wait_share = 1e9  # else it may be refused, as it cannot be answered in time
    monkeypatch.setattr("service.serving.batching.MOST_WAIT_SHARE", 1e9)
    first = held.ask_and_hold()
    late = held.ask(history=["item-07"], deadline_ms=100).result()
    assert late.status_code == 504
    assert (late.json()["error"]["code"], late.json()["error"]["retryable"]) == ("deadline_exceeded", True)
    in_call = {"requests": [ASK, ASK | {"deadline_ms": 100}]}
    assert held.client.post("/recommend/batch", json=in_call).status_code == 504
    assert held.batcher.queue_length == 0  # the other one of the call has left, too
    held.go.set()
    assert first.result().status_code == 200
    assert held.batches == [[[5]]]


def test_strangers_are_neither_held_back_nor_counted(held: Held, wait_for: WaitFor, monkeypatch: Any) -> None:
    monkeypatch.setattr("service.serving.late_start.MOST_SECONDS", 1.0)
    monkeypatch.setattr("service.serving.batching.MOST_WAIT_SHARE", 1e9)
    edge, admission = Edge(Settings(api_keys=SecretStr("k" * 20)), "1"), held.app.state.runtime.admission
    monkeypatch.setattr(held.app.state.shedding, "_knows", edge.knows)
    first = held.ask_and_hold()
    held.batcher._times = RunTimes()
    held.batcher._times.record(10, 1, 30.0)  # what a run takes, as if measured

    def predicted() -> float:
        with monkeypatch.context() as patch:
            patch.setattr(held.batcher, "_wait_share", -1.0)
            return admission.refusal() or 0.0

    monkeypatch.setattr(held.batcher, "_wait_share", 1e9)
    beside = [held.callers.submit(held.client.post, "/recommendx", json=ASK) for _ in range(3)]
    assert [each.result().status_code for each in beside] == [404] * 3
    strangers = [held.ask() for _ in range(3)]
    wait_for(lambda: held.batcher.queue_length == 3)  # this app itself asks nobody for a key
    before = predicted()
    ask = {"json": ASK, "headers": {"X-API-Key": "k" * 20}}
    known = [held.callers.submit(held.client.post, "/recommend", **ask) for _ in range(3)]  # type: ignore[arg-type]
    wait_for(lambda: admission.late_start.held == 3)
    assert predicted() > before + 30
    wait_for(lambda: held.batcher.queue_length == 6)
    held.go.set()
    assert [each.result().status_code for each in (first, *strangers, *known)] == [200] * 7


def test_a_queue_that_is_too_long_is_refused_before_the_body_is_read(held: Held) -> None:
    first = held.ask_and_hold()
    held.batcher._times = RunTimes()
    held.batcher._times.record(10, 1, 1000.0)  # what a run takes, as if measured
    for path in ("/recommend", "/recommend/batch"):
        for headers in ({}, {"Connection": "close"}):  # by the parser, and by the gate
            refused = held.client.post(path, content=b"no JSON at all", headers=headers)
            error = refused.json()["error"]
            assert (refused.status_code, error["code"], error["type"]) == (429, "queue_full", "overloaded")
            assert error["retryable"] is True
            assert error["request_id"] == refused.headers["X-Request-ID"]
            assert 1000 <= int(refused.headers["Retry-After"]) <= 2001
    similar = held.client.get("/items/item-05/similar")  # decodes as well
    assert (similar.status_code, similar.json()["error"]["code"]) == (429, "queue_full")
    assert held.client.get("/health/live").status_code == 200
    shed = [line for line in held.client.get("/metrics").text.splitlines() if line.startswith("mmgrec_requests_shed")]
    assert sum(float(line.split()[-1]) for line in shed) == 5
    held.go.set()
    assert first.result().status_code == 200
    assert held.client.post("/recommend", json=ASK).status_code == 200


def test_who_hangs_up_leaves_the_queue(held: Held, wait_for: WaitFor) -> None:
    first = held.ask_and_hold()
    port = held.client.base_url.port
    assert port is not None
    body = b'{"history": ["item-07"]}'
    head = (
        f"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port)) as caller:
        caller.sendall(head.encode() + body)
        wait_for(lambda: held.batcher.queue_length == 1)
    wait_for(lambda: held.batcher.queue_length == 0)  # although the decoder is still held
    with socket.create_connection(("127.0.0.1", port)) as caller:
        caller.sendall(b"GET /items/item-07/similar HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for(lambda: held.batcher.queue_length == 1)
    wait_for(lambda: held.batcher.queue_length == 0)
    held.go.set()
    assert first.result().status_code == 200
    assert held.batches == [[[5]]]


def test_popular_items_and_explanations_keep_deadlines_too(held: Held) -> None:
    first = held.ask_and_hold()
    late = held.ask(history=[], categories=["category-1"], deadline_ms=100).result()
    assert late.status_code == 504
    held.go.set()
    assert first.result().status_code == 200


def test_an_explanation_keeps_the_deadline_and_is_part_of_the_prediction(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = held.app.state.runtime.watch.state.release.decoder
    monkeypatch.setattr(decoder, "level_log_probs", lambda *_: time.sleep(0.3), raising=False)
    assert held.ask(explain=True, deadline_ms=100).result().status_code == 504
    assert held.batcher.beside.seconds == 0  # nobody waited for its end
    assert held.ask(explain=True).result().status_code == 200
    assert held.batcher.beside.seconds > 0.01
    first = held.ask_and_hold()
    assert held.batcher.answer_seconds() > 2 * held.batcher.beside.seconds
    held.go.set()
    assert first.result().status_code == 200


def test_a_decoder_that_does_not_come_back_is_not_ready(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.runtime.DEAD_WORKER_SECONDS", 0.05)
    first = held.ask_and_hold()
    time.sleep(0.06)
    ready = held.client.get("/health/ready")
    assert (ready.status_code, ready.json()["reasons"]) == (503, ["worker_dead"])
    held.go.set()
    assert first.result().status_code == 200
    assert held.client.get("/health/ready").status_code == 200


def test_a_process_that_leaves_answers_what_it_has_and_refuses_the_rest(held: Held, wait_for: WaitFor) -> None:
    drain = held.app.state.drain
    assert "connection" not in held.client.post("/recommend", json=ASK).headers
    first = held.ask_and_hold()
    drain._grace_seconds = 1000
    drain.begin()
    ready = held.client.get("/health/ready")
    assert (ready.status_code, ready.json()["reasons"]) == (503, ["draining"])
    assert ready.json()["release"] == "v1"
    accepted = held.ask(history=["item-07"])
    wait_for(lambda: held.batcher.queue_length == 1)
    drain._grace_seconds = 0
    refused = held.client.post("/recommend", json=ASK)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
    assert refused.headers["Connection"] == "close"
    assert int(refused.headers["Retry-After"]) >= 1
    assert held.client.get("/health/live").status_code == held.client.get("/info").status_code == 200
    assert not drain.over
    held.go.set()
    for each in (first, accepted):
        assert each.result().status_code == 200
        assert each.result().headers["Connection"] == "close"
    wait_for(lambda: drain.over)
