"""How the service starts: as `python -m service`, as `service.app:app`, and without anything of the offline side."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.__main__ import listen, main
from service.contract.release_store import ReleaseStore

ROOT = Path(__file__).parents[2]
BLOCK_OFFLINE_SIDE = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "model", "offline"}:
            raise ImportError(f"the service imports {name}")

sys.meta_path.insert(0, Block())
"""


def environment(**changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MMGREC_")}
    return {**kept, **changes}


def test_the_service_imports_nothing_of_the_offline_side_and_connects_to_nothing() -> None:
    code = (
        BLOCK_OFFLINE_SIDE + "import service.__main__, service.app; print(service.app.app.title, service.app.app.title)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        env=environment(MMGREC_REDIS_URL="redis://192.0.2.1"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "MMGRec MMGRec\n", "")


def test_a_port_that_is_taken_is_one_line_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["--port", str(port)]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert f"port {port}" in message
    assert "another --port" in message


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["--port", "http"], "MMGREC_PORT='http'"), (["--host", "no.such.host.invalid"], "no.such.host.invalid")],
)
def test_what_cannot_be_used_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
) -> None:
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert named in message


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_kept_connection_is_answered_without_a_wait(host: str) -> None:
    with listen(host, 0) as listener, socket.create_connection(listener.getsockname()[:2]):
        assert listener.proto == socket.IPPROTO_TCP  # what asyncio looks at before it sets TCP_NODELAY


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_the_command_says_where_it_listens_answers_and_stops(
    redis_url: str,
    namespace: str,
    store: ReleaseStore,
    wait_for: Callable[[Callable[[], Any]], Any],
    stop: signal.Signals,
) -> None:
    command = [sys.executable, "-m", "service", "--port", "0", "--host", "0.0.0.0", "--allow-anonymous"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(
            MMGREC_REDIS_URL=redis_url,
            MMGREC_NAMESPACE=namespace,
            MMGREC_RELEASE_POLL_SECONDS="0.05",
            MMGREC_DRAIN_GRACE_SECONDS="0",
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = process.stdout.readline()
    assert said.startswith("MMGRec listens on http://0.0.0.0:")
    port = said.split()[3].rpartition(":")[2]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        wait_for(lambda: client.get("/health/ready").json()["reasons"] == ["no_release"])
        assert client.post("/recommend", json={"user_id": "a"}).status_code == 503
    process.send_signal(stop)
    _, log = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "reachable from other machines" in log
    assert "python -m offline publish --run DIR" in log
    assert "Traceback" not in log
    assert redis_url not in log
