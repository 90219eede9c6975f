"""The service as a demo runs it: on a free port of this machine, in a process of its own, and asked once."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from offline import progress
from offline.errors import BadInputError, JobError

HOST = "127.0.0.1"
PORTS_TRIED = 50
START_LIMIT_SECONDS = 120.0
NUM_ITEMS = 10


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block as an exception does: what it has opened is closed, the service above all."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def free_port(first: int) -> int:
    """The first free port from `first` on.

    Raises:
        BadInputError: none of `PORTS_TRIED` is free.
    """
    last = min(first + PORTS_TRIED, 65536)
    for port in range(first, last):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                progress.say(f"port {port} is taken, trying the next")
                continue
            return port
    raise BadInputError(f"no free port between {first} and {last - 1} on {HOST}; name another with PORT=")


@contextmanager
def service(namespace: str, home: Path, redis_url: str | None, port: int) -> Iterator[str]:
    """The real service in a process of its own; yields its address once it is ready, stops it at the end."""
    command = [sys.executable, "-m", "service", "--host", HOST, "--port", str(port), "--home", str(home)]
    environment = {"MMGREC_LOG_FORMAT": "text", **os.environ, "MMGREC_NAMESPACE": namespace}
    environment["MMGREC_DRAIN_GRACE_SECONDS"] = "0"
    if redis_url is not None:
        environment["MMGREC_REDIS_URL"] = redis_url
    process = subprocess.Popen(command, env=environment)
    try:
        address = f"http://{HOST}:{port}"
        _wait_until_ready(process, address)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: "subprocess.Popen[bytes]", address: str) -> None:
    deadline, last = time.monotonic() + START_LIMIT_SECONDS, ""
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise JobError(f"the service ended with exit code {process.returncode}; its own lines above say why")
        try:
            _get(f"{address}/health/ready")
            return
        except urllib.error.HTTPError as error:
            last = error.read().decode(errors="replace")
        except OSError as error:
            last = str(error)
        time.sleep(0.1)
    raise JobError(f"the service was not ready within {START_LIMIT_SECONDS:.0f} s: {last}")


def _get(address: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data=data, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return dict(json.load(response))


def ask(address: str, user_id: str, version: str) -> dict[str, Any]:
    """A first answer, which must come from the release just published.

    Raises:
        JobError: the service refused, or answered from something else.
    """
    try:
        answer = _get(f"{address}/recommend", {"user_id": user_id, "n": NUM_ITEMS})
    except urllib.error.HTTPError as error:
        raise JobError(f"the service answered {error.code}: {error.read().decode(errors='replace')}") from error
    if answer["release"] != version or answer["source"] != "model":
        raise JobError(f"expected an answer of the model from release {version}, got {answer}")
    return answer


def wait_for_interrupt() -> None:
    """Until Ctrl-C."""
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        progress.say("stopping")
