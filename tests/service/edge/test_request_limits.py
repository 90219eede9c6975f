"""Headers that are too large, such as never end, and bodies nested without end; over real sockets."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, suppress
from itertools import pairwise
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from service.app import create_app
from service.edge.http_protocol import http_protocol
from service.settings import Settings
from tests.service.over_sockets import read_all, serving

LIMIT = 32 * 1024
ASK = {"history": ["item-05"], "n": 1}


def test_headers_that_are_too_large_are_named_with_their_limit(service: httpx.Client) -> None:
    for headers in ({"X-Long": "x" * LIMIT}, {f"X-{at}": "y" * 100 for at in range(LIMIT // 100)}):
        answer = service.post("/recommend", json=ASK, headers=headers)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (431, "headers_too_large")
        assert str(LIMIT) in error["message"]
        assert "MMGREC_MAX_HEADER_BYTES" in error["message"]
        assert service.post("/recommend", json=ASK).status_code != 431


def test_the_limit_is_a_setting(
    settings: Settings, fake_decoder: Any, running: Callable[[FastAPI], AbstractContextManager[httpx.Client]]
) -> None:
    small = settings.model_copy(update={"max_header_bytes": 1024})
    with running(create_app(small, decoder_factory=fake_decoder)) as client:
        assert client.get("/health/live", headers={"X-Long": "x" * 1024}).status_code == 431
        assert client.get("/health/live", headers={"X-Long": "x" * 700}).status_code == 200


@pytest.mark.parametrize("path", ["/recommend", "/events"])
@pytest.mark.parametrize(("opening", "closing_"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("depth", [900, 5_000, 200_000])
def test_nesting_without_end_is_no_fault(
    service: httpx.Client, path: str, opening: str, closing_: str, depth: int
) -> None:
    inner = opening * depth + ("1" if opening != "[" else "") + closing_ * depth
    body = b'{"user_id": "a", "history": ' + inner.encode() + b"}"
    answer = service.post(path, content=body, headers={"Content-Type": "application/json"})
    # 900 levels are read on every Python; how many more is Python's own affair, and those are no JSON.
    expected = {900: {422}, 5_000: {400, 422}, 200_000: {400}}[depth]
    assert answer.status_code in expected
    assert len(answer.text) < 2000


@pytest.fixture
def address(settings: Settings, fake_decoder: Any) -> Iterator[tuple[str, int]]:
    """The service behind the protocol of `python -m service`."""
    app = create_app(settings, decoder_factory=fake_decoder)
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, lifespan="on", http=http_protocol(LIMIT, app.state.shedding))
    )
    with serving(server) as address:
        yield address


@pytest.mark.parametrize(
    "piece", [b"X-More: " + b"y" * 900 + b"\r\n", b"z" * 1000], ids=["many headers", "one without an end"]
)
@pytest.mark.parametrize("before", [b"", b"GET /health/live HTTP/1.1\r\nHost: h\r\n\r\n"], ids=["first", "kept"])
def test_headers_without_an_end_are_cut_off(address: tuple[str, int], piece: bytes, before: bytes) -> None:
    with closing(socket.create_connection(address, timeout=20)) as connection:
        if before:
            connection.sendall(before)
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: h\r\nX-First: ")
        sent = 0
        try:
            while sent < 400 * LIMIT:  # without a limit all of it would be taken, and more
                connection.sendall(piece)
                sent += len(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert sent < 400 * LIMIT
        answer = read_all(connection)
        assert not answer or (answer.startswith(b"HTTP/1.1 431 ") and b'"headers_too_large"' in answer)


@pytest.mark.parametrize("begins", [b"0\r\nX-Trailer: ", b"5;name=", b"2\r\n{}\r\n0\r\nX-Trailer: "])
def test_what_trails_a_body_counts_as_headers(address: tuple[str, int], begins: bytes) -> None:
    with closing(socket.create_connection(address, timeout=20)) as connection:
        connection.sendall(b"POST /recommend HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + begins)
        sent = 0
        with suppress(BrokenPipeError, ConnectionResetError):
            while sent < 400 * LIMIT:
                connection.sendall(b"z" * LIMIT)
                sent += LIMIT
        assert sent < 400 * LIMIT


def test_a_body_in_tiny_pieces_does_not_count_as_headers(address: tuple[str, int]) -> None:
    head = b"POST /recommend HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    extension = b";name=" + b"v" * 4_000
    with closing(socket.create_connection(address, timeout=20)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(head)
        for _ in range(20):
            connection.sendall(b"1" + extension)
            time.sleep(0.002)
            connection.sendall(b"\r\n \r\n")
        connection.sendall(b"0\r\n\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 400")  # no JSON


@pytest.mark.parametrize("sizes", [[40_000], [20_000] * 3, [4 * LIMIT] * 3])
def test_bodies_and_pipelined_requests_do_not_count_as_headers(address: tuple[str, int], sizes: list[int]) -> None:
    request = b"POST /recommend HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    last = b"GET /health/live HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    with closing(socket.create_connection(address, timeout=20)) as connection:
        first = request % sizes[0]
        connection.sendall(first[:-10])
        time.sleep(0.05)  # so that one read begins in a head and ends in the next one, with a body between
        ahead = [b" " * size + request % following for size, following in pairwise(sizes)]
        connection.sendall(first[-10:] + b"".join(ahead) + b" " * sizes[-1] + last[:20])
        time.sleep(0.05)
        connection.sendall(last[20:])
        answers = read_all(connection)
    assert answers.count(b"HTTP/1.1 400") == len(sizes)  # no JSON
    assert answers.count(b"HTTP/1.1 200") == 1
    assert b"headers_too_large" not in answers
