"""The health check of the service's image, against real sockets."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.docker.written import ROOT


class Answers(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/health/live" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def check(port: int) -> int:
    command = [sys.executable, "-IS", str(ROOT / "docker/healthcheck.py")]
    return subprocess.run(command, env=os.environ | {"MMGREC_PORT": str(port)}, timeout=30, check=False).returncode


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (500, 1)])
def test_it_is_well_when_it_answers(
    status: int, code: int, server: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Answers, "status", status)
    assert check(server.server_port) == code


def test_it_is_not_when_nobody_listens() -> None:
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        port = server.server_port
    assert check(port) == 1
