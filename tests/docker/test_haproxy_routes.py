"""A running proxy without a replica: 503 says that a request would have gone on to one, 404 that it is stopped."""

import http.client
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from service.app import create_app
from service.settings import Settings
from tests.docker.written import ROOT
from tests.free_port import free_port

START_LIMIT_SECONDS = 20.0
STOPPED, LET_THROUGH = 404, 503
UNLISTED = ("/livez", "/readyz", "/health", "/docs", "/redoc", "/openapi.json")
"""Routes that the OpenAPI document leaves out."""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    haproxy = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if haproxy is None:
        pytest.skip("no haproxy here (apt-get install haproxy)")
    text = (ROOT / "docker/haproxy/haproxy.cfg").read_text(encoding="utf-8")
    public, observed = free_port(), free_port()
    text = text.replace("bind :8000", f"bind 127.0.0.1:{public}").replace("bind :8405", f"bind 127.0.0.1:{observed}")
    config = tmp_path_factory.mktemp("haproxy") / "haproxy.cfg"
    config.write_text(text, encoding="utf-8")
    process = subprocess.Popen(
        [haproxy, "-db", "-f", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until_open(public)
        yield public
    finally:
        process.terminate()
        process.wait()


def wait_until_open(port: int) -> None:
    deadline = time.monotonic() + START_LIMIT_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def status(port: int, target: str, method: str = "GET") -> int:
    """Of an answer to a target that is sent exactly as it stands here."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(f"{method} {target} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n".encode())
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status


@pytest.mark.parametrize(
    "target",
    [
        *("/metrics", "/metrics/", "/metrics?x=1", "/metrics;x", "//metrics", "/./metrics", "/x/../metrics"),
        *("/%6detrics", "/%6Detrics", "/%256detrics", "/%2Fmetrics", "/metric%73", "/%2e/metrics", "/METRICS"),
        *("http://shop/metrics", "http://shop//metrics", "/docsmetrics", "/nothing", "/"),
    ],
)
def test_metrics_are_not_for_the_outside_however_they_are_spelled(port: int, target: str) -> None:
    assert status(port, target) == STOPPED


def test_every_route_but_metrics_goes_on(port: int) -> None:
    document = create_app(Settings()).openapi()["paths"]
    targets = {re.sub(r"\{\w+\}", "a%2Fb", path): next(iter(methods)).upper() for path, methods in document.items()}
    assert targets.pop("/metrics") == "GET"
    targets |= dict.fromkeys(UNLISTED, "GET")
    assert {target: status(port, target, method) for target, method in targets.items()} == dict.fromkeys(
        targets, LET_THROUGH
    )
