"""Leaving: the phases by the clock, and a real process that gets SIGTERM under load and loses nothing."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from service.serving.drain import Drain

ROOT = Path(__file__).parents[3]
NUM_CALLERS = 8
SERVE_WITH_THE_FAKE = """
import functools, runpy, sys
import service.__main__ as command
fake = runpy.run_path("tests/service/conftest.py")["FakeDecoder"]
command.create_app = functools.partial(command.create_app, decoder_factory=fake)
sys.exit(command.main(["--port", "0"]))
"""


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_the_phases_follow_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("service.serving.drain.time", clock)
    drain = Drain(grace_seconds=5, limit_seconds=20)
    drain.in_flight = 2
    assert (drain.draining, drain.refusing, drain.over) == (False, False, False)
    drain.begin()
    clock.now += 4.9
    drain.begin()  # a second signal does not start again
    assert (drain.draining, drain.refusing, drain.over) == (True, False, False)
    clock.now += 0.2
    assert (drain.refusing, drain.over) == (True, False)
    drain.in_flight = 0
    assert drain.over
    drain.in_flight = 1
    assert not drain.over
    clock.now += 20
    assert drain.over  # what hangs is not waited for


def test_no_grace_refuses_at_once() -> None:
    drain = Drain(grace_seconds=0, limit_seconds=20)
    drain.begin()
    assert drain.refusing
    assert drain.over


class Process(NamedTuple):
    """A running service; what it says goes to a file, as a pipe that nobody reads would fill and block it."""

    popen: "subprocess.Popen[bytes]"
    log: Path

    def url(self, wait_for: Any) -> str:
        found: list[str] = wait_for(lambda: re.findall(r"listens on (\S+)", self.log.read_text()))
        return found[0]


@pytest.fixture
def process(redis_url: str, namespace: str, publish: Any, tmp_path: Path) -> Iterator[Process]:
    """`python -m service` but for its decoder, with release v1 and a grace of a second."""
    publish("v1")
    named = {"REDIS_URL": redis_url, "NAMESPACE": namespace, "DRAIN_GRACE_SECONDS": "1", "DEADLINE_SECONDS": "20"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MMGREC_")}
    environment = kept | {f"MMGREC_{name}": value for name, value in named.items()}
    log = tmp_path / "service.log"
    with log.open("w") as said:
        popen = subprocess.Popen(
            [sys.executable, "-c", SERVE_WITH_THE_FAKE], cwd=ROOT, env=environment, stdout=said, stderr=said
        )
    yield Process(popen, log)
    if popen.poll() is None:
        popen.kill()
        popen.wait()


class Caller(threading.Thread):
    """Asks without a pause on a kept connection until the service closes that, as a load balancer's would be."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.statuses: list[int] = []
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            with httpx.Client(base_url=self.url, timeout=30) as client:
                closing = False
                while not closing:
                    response = client.post("/recommend", json={"history": ["item-05"], "n": 3})
                    self.statuses.append(response.status_code)
                    closing = response.headers.get("connection") == "close"
        except Exception as error:  # noqa: BLE001 - a lost request, whatever it looks like
            self.error = error


def test_sigterm_under_load_loses_nothing_and_ends_with_0(process: Process, wait_for: Any) -> None:
    url = process.url(wait_for)
    with httpx.Client(base_url=url, timeout=20) as watcher:
        wait_for(lambda: watcher.get("/health/ready").status_code == 200)
        callers = [Caller(url) for _ in range(NUM_CALLERS)]
        for caller in callers:
            caller.start()
        wait_for(lambda: all(len(caller.statuses) > 5 for caller in callers))
        began = time.monotonic()
        process.popen.send_signal(signal.SIGTERM)
        for caller in callers:
            caller.join(20)
    assert process.popen.wait(timeout=30) == 0
    assert [caller.error for caller in callers] == [None] * NUM_CALLERS
    assert {status for caller in callers for status in caller.statuses} == {200}
    assert time.monotonic() - began >= 1.0  # the grace: load balancers may still have sent something
    assert "Traceback" not in process.log.read_text()


def test_during_the_grace_new_callers_are_still_answered(process: Process, wait_for: Any) -> None:
    url = process.url(wait_for)
    with httpx.Client(base_url=url, timeout=20) as client:
        wait_for(lambda: client.get("/health/ready").status_code == 200)
        process.popen.send_signal(signal.SIGTERM)
        wait_for(lambda: client.get("/health/ready").status_code == 503)
        assert client.get("/health/ready").json()["reasons"] == ["draining"]
    process.popen.send_signal(signal.SIGTERM)  # who says it twice does not want to wait
    assert process.popen.wait(timeout=30) == 0
