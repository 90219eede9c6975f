"""What becomes of a connection on which requests are refused before the parser; over real sockets."""

import logging
import socket
import struct
import time
from contextlib import closing

import pytest

from tests.service.edge.served_app import POST, Served, WaitFor, served_app
from tests.service.over_sockets import read_all


def refused_until_full(served: Served, connection: socket.socket, wait_for: WaitFor) -> int:
    """How many refusals were written, one by one, until the service noticed that nobody reads them."""
    sent = 0
    while not (sent and served.connections[0].flow.write_paused):
        connection.sendall(POST)
        sent += 1
        wait_for(lambda: served.shedding.refused == sent)  # noqa: B023 - called before the next turn
    return sent


def test_refusals_do_not_pile_up_for_a_caller_who_does_not_read(wait_for: WaitFor) -> None:
    with served_app(refuses=True) as served, closing(served.connect()) as connection:
        sent = refused_until_full(served, connection, wait_for)
        assert served.connections[0].transport.get_write_buffer_size() < 2**18
        for _ in range(3):
            connection.sendall(POST)
        served.may_answer.set()
        time.sleep(0.2)
        assert served.shedding.refused == sent  # those behind wait to be answered in the usual way
        answers = b""
        while answers.count(b"HTTP/1.1") < sent + 3:  # and are, once the caller reads
            answers += connection.recv(2**20)
        assert (answers.count(b" 429 "), answers.count(b" 200 ")) == (sent, 3)


def test_a_caller_who_reads_nothing_is_cut_off(wait_for: WaitFor, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "service")
    with served_app(seconds_to_complete=0.3, refuses=True) as served, closing(served.connect()) as connection:
        refused_until_full(served, connection, wait_for)
        wait_for(lambda: served.connections[0].transport.is_closing())
    assert [record for record in caplog.records if "its caller reads nothing" in record.getMessage()]


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_that_has_gone_leaves_nothing_behind(wait_for: WaitFor, reset: bool) -> None:
    with served_app(refuses=True) as served:
        with closing(served.connect()) as connection:
            connection.sendall(POST)
            wait_for(lambda: served.shedding.refused == 1)
            assert served.connections[0].timeout_keep_alive_task is not None
            if reset:  # as callers do who have waited for too long
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wait_for(lambda: served.connections[0].transport.is_closing())
        wait_for(lambda: served.connections[0].timeout_keep_alive_task is None)


def test_a_refused_connection_is_kept_for_as_long_as_any_other() -> None:
    with served_app(refuses=True) as served, closing(served.connect()) as connection:
        for _ in range(3):  # of a keep-alive of one second
            connection.sendall(POST)
            time.sleep(0.6)
        started = time.monotonic()
        assert read_all(connection).count(b" 429 ") == 3
        assert time.monotonic() - started < 3
