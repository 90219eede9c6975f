"""The demo as a newcomer meets it: a process of its own, on a dataset folder, with a private Redis of its own."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from offline.run_folder import fingerprint
from service.contract.redis_server import stop_server
from tests.offline.conftest import SIZE, write_checkerboard

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("MMGREC_")}
LIMIT_SECONDS = 300
FIELDS = {
    *("dataset", "items", "users", "train_seconds", "recall@20", "ndcg@20", "generator_recall@20"),
    *("popularity_recall@20", "illegal", "duplicates", "seen", "answer"),
}

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the private Redis needs Linux or macOS")


class Place(NamedTuple):
    """A home that is the test's own, a dataset, a port that somebody holds."""

    home: Path
    data: Path
    port: int

    @contextmanager
    def demo(self, *more: str, stderr: int) -> Iterator["subprocess.Popen[str]"]:
        command = [sys.executable, "-m", "offline", "demo", "--data", str(self.data), "--home", str(self.home)]
        command += ["--port", str(self.port), "--recipe", "tiny", *more]
        with subprocess.Popen(
            command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=stderr, text=True
        ) as process:
            try:
                yield process
            finally:
                process.terminate()  # no-op when it has ended


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """One for all tests here, so that only the first one trains."""
    folder = Path(tempfile.mkdtemp(prefix="mmgrec-demo-", dir="/tmp"))
    with socket.create_server(("127.0.0.1", 0)) as holder:
        yield Place(folder / "home", write_checkerboard(folder / "日本"), holder.getsockname()[1])
    stop_server(folder / "home")
    shutil.rmtree(folder)


def port_of(output: str) -> int:
    found = re.search(r"curl -s http://127\.0\.0\.1:(\d+)/recommend", output)
    assert found, output
    return int(found[1])


def assert_nobody_listens(port: int) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def assert_no_service_is_left(home: Path) -> None:
    """By the kernel's list of processes, where there is one."""
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().split(b"\0")
        except OSError:  # it has ended meanwhile
            continue
        assert not (b"service" in words and os.fsencode(home) in words), words


def test_the_demo_answers_checks_and_leaves_only_its_redis(place: Place) -> None:
    with place.demo("--check", stderr=subprocess.PIPE) as process:
        out, told = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 0, told
    result = json.loads(out.splitlines()[-1])
    assert f"port {place.port} is taken, trying the next" in told.splitlines()
    assert port_of(out) > place.port
    assert set(result) == FIELDS
    assert (result["dataset"], result["items"], result["users"]) == (place.data.name, SIZE, SIZE)
    assert (result["illegal"], result["duplicates"], result["seen"]) == (0, 0, 0)
    assert result["recall@20"] > result["popularity_recall@20"]
    assert all(set(item) == {"item_id", "title", "score"} for item in result["answer"])
    namespace = f"demo---{fingerprint(place.data)[:8]}"
    assert f"-m service --namespace {namespace} --home {place.home}" in out
    (releases,) = [line for line in out.splitlines() if " -m offline releases " in line]
    listed = subprocess.run(shlex.split(releases), cwd=ROOT, env=ENVIRONMENT, capture_output=True, check=True)
    assert [release["active"] for release in json.loads(listed.stdout)["releases"]] == [True]
    assert_nobody_listens(port_of(out))
    assert_no_service_is_left(place.home)
    assert stop_server(place.home), "the private Redis had ended"


def test_sigterm_to_the_demo_stops_the_service(place: Place) -> None:
    """After the test above it finds the run trained, and starts the Redis again."""
    with place.demo(stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        out = ""
        for line in process.stdout:
            out += line
            if "The service is running" in line:
                break
        with socket.create_connection(("127.0.0.1", port_of(out)), timeout=5):
            pass
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 128 + signal.SIGTERM, out
    assert_nobody_listens(port_of(out))
    assert_no_service_is_left(place.home)
    assert stop_server(place.home), "the private Redis had ended"
