"""The limit of a key: the bucket beside a slow reference, and 429 over real HTTP."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from service.app import create_app
from service.edge.rate_limit import RateLimitMiddleware, TokenBucket, burst_of
from service.request_context import CONTEXT_KEY, AnswerFacts, RequestContext
from service.settings import Settings

Running = Callable[[FastAPI], AbstractContextManager[httpx.Client]]
WaitFor = Callable[[Callable[[], Any]], Any]
TINY = 1e-9
KEYS = "the-first-of-two-keys", "the-second-of-two-keys"

rates = st.sampled_from([0.5, 1.0, 3.0, 50.0])
bursts = st.integers(1, 10)
steps = st.lists(st.floats(0, 5, allow_subnormal=False), min_size=1, max_size=40)


@given(rates, bursts, steps)
def test_in_no_span_more_than_the_burst_and_what_the_span_brings(rate: float, burst: int, waits: list[float]) -> None:
    bucket, now, taken = TokenBucket(rate, burst, 0.0), 0.0, list[float]()
    for wait in waits:
        now += wait
        if bucket.take(now) == 0:
            taken.append(now)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + rate * (taken[last] - taken[first]) + TINY


@given(rates, bursts, steps)
def test_who_waits_as_told_gets_in_and_who_comes_sooner_does_not(rate: float, burst: int, waits: list[float]) -> None:
    bucket, now = TokenBucket(rate, burst, 0.0), 0.0
    for wait in waits:
        now += wait
        if told := bucket.take(now):
            assert 0 < told <= 1 / rate
            assert told < TINY or bucket.take(now + told * 0.9) > 0  # less is lost in rounding
            now += told + TINY
            assert bucket.take(now) == 0


@given(rates, bursts, st.integers(1, 100))
def test_a_debt_is_paid_by_waiting(rate: float, burst: int, owed: int) -> None:
    bucket = TokenBucket(rate, burst, 0.0)
    bucket.owe(burst + owed, 0.0)
    assert bucket.take(0.0) == pytest.approx((owed + 1) / rate)
    assert bucket.take((owed + 1) / rate + TINY) == 0


def test_the_burst_is_that_of_a_second_unless_named() -> None:
    assert [burst_of(*each) for each in ((0.2, None), (2.5, None), (2.5, 7))] == [1, 3, 7]


class Limited:
    """The middleware around an app that notes some recommendations; what happens is a list of statuses."""

    def __init__(self, answers: int = 1) -> None:
        self.now = 0.0
        self._answers = answers
        self._middleware = RateLimitMiddleware(self._app, per_second=2.0, burst=2, clock=lambda: self.now)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        answer = AnswerFacts("v1", 3, [0], "model", None, False, False, 10, 1, 0)
        scope[CONTEXT_KEY].answers.extend([answer] * self._answers)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    def ask(self, path: str = "/recommend", caller: str | None = None) -> tuple[int, str | None]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            raise AssertionError("a body is read before the limit has been asked")

        scope = {"type": "http", "path": path, CONTEXT_KEY: RequestContext(caller=caller)}
        running = self._middleware(scope, receive, send)
        with pytest.raises(StopIteration):  # nothing in it waits
            running.send(None)  # type: ignore[attr-defined]
        headers = dict(sent[0]["headers"])
        return sent[0]["status"], headers.get(b"retry-after", b"").decode() or None


def test_beyond_the_burst_429_says_when_to_come_back() -> None:
    limited = Limited()
    assert [limited.ask() for _ in range(3)] == [(200, None), (200, None), (429, "1")]
    limited.now = 0.5
    assert [limited.ask()[0] for _ in range(2)] == [200, 429]


def test_keys_do_not_share_a_limit_and_health_has_none() -> None:
    limited = Limited()
    assert [limited.ask(caller="a")[0] for _ in range(3)] == [200, 200, 429]
    assert [limited.ask(caller="b")[0] for _ in range(3)] == [200, 200, 429]
    for path in ("/health/live", "/metrics", "/admin/reload"):
        assert [limited.ask(path, caller="a")[0] for _ in range(5)] == [200] * 5


def test_a_batch_costs_what_it_holds() -> None:
    limited = Limited(answers=8)
    assert limited.ask() == (200, None)
    assert limited.ask() == (429, str(math.ceil((1 + 6) / 2)))  # 2 - 1 - 7 tokens, and one is needed


@pytest.fixture
def limited_service(
    settings: Settings, publish: Any, running: Running, wait_for: WaitFor, fake_decoder: Any
) -> Iterator[httpx.Client]:
    publish("v1")
    limits = {"rate_limit_per_second": 0.01, "rate_limit_burst": 2, "api_keys": SecretStr(",".join(KEYS))}
    with running(create_app(settings.model_copy(update=limits), decoder_factory=fake_decoder)) as client:
        wait_for(lambda: client.get("/health/ready").status_code == 200)
        yield client


def test_over_http_the_limit_comes_after_the_key_and_before_the_body(limited_service: httpx.Client) -> None:
    client, (first, second) = limited_service, KEYS
    for _ in range(5):  # those without a key are nobody's business
        assert client.post("/recommend", json={}).status_code == 401
    ask = {"history": ["item-05"], "n": 1}
    assert client.post("/recommend", json=ask, headers={"X-API-Key": first}).status_code == 200
    assert client.post("/recommend", content=b"{", headers={"X-API-Key": first}).status_code == 400  # it counts as well
    refused = client.post("/recommend", content=b"{", headers={"X-API-Key": first})
    assert refused.status_code == 429
    assert 90 <= int(refused.headers["Retry-After"]) <= 100
    error = refused.json()["error"]
    assert (error["type"], error["code"], error["retryable"]) == ("overloaded", "rate_limited", True)
    assert "0.01 requests per second" in error["message"]
    assert refused.headers["Retry-After"] in error["message"]
    assert client.post("/recommend", json=ask, headers={"X-API-Key": second}).status_code == 200
    assert client.get("/health/ready").status_code == 200
