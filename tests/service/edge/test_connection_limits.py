"""Callers who send without reading, without end or without sense: what one connection can cost; over real sockets."""

import json
import logging
import socket
import time
from contextlib import closing
from typing import Any

import pytest

from service.edge.http_protocol import MOST_AHEAD, MOST_AHEAD_AT_ONCE
from tests.service.edge.served_app import GET, LAST, WaitFor, served_app
from tests.service.over_sockets import read_all


def send_until_full(connection: socket.socket, piece: bytes, most: int) -> int:
    """How many bytes of it were taken before nothing more was for half a second."""
    connection.settimeout(0.5)
    sent = 0
    try:
        while sent < most:
            sent += connection.send(piece)
    except TimeoutError:
        pass
    connection.settimeout(10)
    return sent


def error_of(answer: bytes) -> dict[str, Any]:
    """The error in the last of some answers."""
    head, _, body = answer[answer.rindex(b"HTTP/1.1 4") :].partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head
    assert b"connection: close" in head
    error: dict[str, Any] = json.loads(body)["error"]
    assert f"x-request-id: {error['request_id']}".encode() in head
    assert f"content-length: {len(body)}".encode() in head
    return error


def test_requests_ahead_are_answered_in_their_order_however_many() -> None:
    with served_app() as served, closing(served.connect()) as connection:
        served.may_answer.set()
        for _ in range(60):
            connection.sendall(GET * MOST_AHEAD)
        connection.sendall(LAST)
        assert read_all(connection).count(b"HTTP/1.1 200") == 60 * MOST_AHEAD + 1


def test_no_more_is_read_than_a_few_requests_ahead() -> None:
    padded = b"GET / HTTP/1.1\r\nHost: h\r\nX-Padding: " + b"y" * 8_000 + b"\r\n\r\n"
    with served_app() as served, closing(served.connect()) as connection:
        connection.sendall(padded)
        sent = send_until_full(connection, padded, 2**26)
        assert sent < 2**26  # the rest lies in the buffers of the kernel
        ahead = len(served.connections[0].pipeline)
        assert ahead <= MOST_AHEAD + 2**18 // len(padded) + 1  # one read may bring so many at once
        before = served.answered
        served.may_answer.set()
        while served.answered < before + 100:  # and they go on, when there are answers
            connection.recv(65_536)
        assert len(served.connections[0].pipeline) <= MOST_AHEAD + 2**18 // len(padded) + 1


def test_thousands_at_once_end_the_connection_after_the_answer_that_is_under_way(wait_for: WaitFor) -> None:
    with served_app() as served, closing(served.connect()) as connection:
        connection.sendall(GET)
        wait_for(lambda: served.connections and served.connections[0].cycle)
        connection.sendall(GET * MOST_AHEAD_AT_ONCE * 4)  # about 100 kB
        time.sleep(0.2)
        served.may_answer.set()
        answer = read_all(connection)
        assert served.answered == 1
        if answer:  # what the service did not read makes the kernel forget what was not yet received
            assert answer.startswith(b"HTTP/1.1 200")
            assert error_of(answer)["code"] == "too_many_pipelined"


def test_a_large_body_that_waits_for_its_turn_is_not_read(wait_for: WaitFor) -> None:
    size = 2**24
    with served_app() as served, closing(served.connect()) as connection:
        head = b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size
        connection.sendall(GET * 5 + head)
        wait_for(lambda: served.connections and len(served.connections[0].pipeline) == 5)
        sent = send_until_full(connection, b"z" * 65_536, size)
        assert len(served.connections[0].cycle.body) < 2**20
        served.may_answer.set()
        connection.sendall(b"z" * (size - sent))
        assert read_all(connection).count(b"HTTP/1.1 200") == 6


@pytest.mark.parametrize(
    "sent",
    [
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
        b"no HTTP at all\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX-\x00Name: 1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nno length\r\n",
    ],
    ids=["two lengths", "no HTTP", "header name", "target", "chunk"],
)
def test_what_is_no_http_is_answered_in_the_one_shape(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "service")
    with served_app() as served:
        with closing(served.connect()) as connection:
            connection.sendall(sent)
            alone = read_all(connection)
        assert alone.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        error = error_of(alone)
        assert (error["code"], error["type"], error["retryable"]) == ("malformed_request", "invalid_request", False)
        lines = [record for record in caplog.records if "malformed_request" in record.getMessage()]
        assert [record.levelname for record in lines] == ["INFO"]
        assert not [record for record in caplog.records if record.name == "uvicorn.error" and record.levelno > 20]
        served.may_answer.set()
        with closing(served.connect()) as connection:
            connection.sendall(GET * 2 + sent)
            answers = read_all(connection)
        assert answers.count(b"HTTP/1.1 200") == 2  # the answers that are owed come first
        assert error_of(answers)["code"] == "malformed_request"


@pytest.mark.parametrize(
    ("sent", "answers", "code"),
    [
        (b"", 0, None),
        (b"\r\n", 0, None),
        (b"GET / HTTP/1.1\r\nHos", 0, "request_timeout"),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n{", 0, "request_timeout"),
        (GET + b"GET / HTTP/1.1\r\nHos", 1, "request_timeout"),
        (GET + b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n{", 1, "request_timeout"),
        (GET + b"\r\n", 1, None),
    ],
    ids=["nothing", "an empty line", "head", "body", "second head", "second body", "an empty line after"],
)
@pytest.mark.parametrize("dripping", [False, True])
def test_a_request_has_so_long_to_be_complete(sent: bytes, answers: int, code: str | None, dripping: bool) -> None:
    with served_app(seconds_to_complete=0.4) as served, closing(served.connect()) as connection:
        served.may_answer.set()
        if dripping:
            for at in range(len(sent)):
                connection.sendall(sent[at : at + 1])
        else:
            connection.sendall(sent)
        started = time.monotonic()
        received = read_all(connection)
        assert 0.2 < time.monotonic() - started < 4.0 or sent == GET + b"\r\n"
        assert received.count(b"HTTP/1.1 200") == answers
        if code is None:
            assert received.count(b"HTTP/1.1") == answers
        else:
            assert received.count(b"HTTP/1.1 408") == 1
            assert (error_of(received)["code"], error_of(received)["retryable"]) == (code, True)


def test_a_kept_connection_and_a_slow_answer_have_all_the_time() -> None:
    with served_app(seconds_to_complete=0.1) as served, closing(served.connect()) as connection:
        connection.sendall(GET)
        time.sleep(0.35)
        served.may_answer.set()
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
        time.sleep(0.35)
        connection.sendall(LAST)
        assert read_all(connection).startswith(b"HTTP/1.1 200")


def test_who_waits_for_the_service_to_read_on_is_not_late(wait_for: WaitFor) -> None:
    size = 2**24
    with served_app(seconds_to_complete=0.2) as served, closing(served.connect()) as connection:
        connection.sendall(
            GET + b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size
        )
        sent = send_until_full(connection, b"z" * 65_536, size)
        time.sleep(0.5)
        served.may_answer.set()
        connection.sendall(b"z" * (size - sent))
        assert read_all(connection).count(b"HTTP/1.1 200") == 2


def test_who_leaves_with_requests_ahead_is_no_fault(wait_for: WaitFor, caplog: pytest.LogCaptureFixture) -> None:
    with served_app() as served:
        with closing(served.connect()) as connection:
            connection.sendall(GET * 3)
            wait_for(lambda: served.connections and len(served.connections[0].pipeline) == 2)
        wait_for(lambda: served.connections[0].transport.is_closing())
        served.may_answer.set()
        wait_for(lambda: served.answered == 1)
        time.sleep(0.05)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
