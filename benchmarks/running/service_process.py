"""`python -m service` as a process of its own, and what it costs."""

import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

START_SECONDS = 600.0


class ServiceProcess(NamedTuple):
    """A running service.

    Attributes:
        url: where it listens.
        process: which one it is.
        log: what it says.
        listens_seconds: from its start until it listened.
        ready_seconds: from its start until it answered requests.
    """

    url: str
    process: "subprocess.Popen[bytes]"
    log: Path
    listens_seconds: float
    ready_seconds: float

    @property
    def port(self) -> int:
        """Of its URL."""
        return int(self.url.rpartition(":")[2])

    def cpu_seconds(self) -> float:
        """What it has used so far, all threads together."""
        used = cpu_seconds(self.process.pid)
        assert used is not None, "only systems with /proc tell what a process has used"
        return used

    def leave(self) -> int:
        """SIGTERM, and the code that it ends with."""
        self.process.terminate()
        return self.process.wait(timeout=START_SECONDS)


@contextmanager
def running_service(
    folder: Path, settings: Mapping[str, str], *, first: Callable[[], None] | None = None
) -> Iterator[ServiceProcess]:
    """Start it, wait until it is ready, and see to it that it does not outlive the block.

    Args:
        folder: of its log.
        settings: of the service, without their prefix; none of this process's own are passed on.
        first: called in the new process before it becomes the service.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MMGREC_")}
    environment |= {f"MMGREC_{name}": value for name, value in settings.items()}
    log = folder / "service.log"  # a pipe that nobody reads would fill, and block the service
    began = time.monotonic()
    with log.open("w") as said:
        command = [sys.executable, "-m", "service", "--port", "0"]
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.STDOUT, preexec_fn=first)
    try:
        _wait_for(lambda: _address(log) is not None, process, log)
        url, listens_seconds = _address(log) or "", time.monotonic() - began
        _wait_for(lambda: _is_ready(url), process, log)
        yield ServiceProcess(url, process, log, listens_seconds, time.monotonic() - began)
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def cpu_seconds(pid: int) -> float | None:
    """Processor time of a process, which tells more than the clock on a busy machine; None where there is no /proc."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return None
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def status_of(pid: int) -> dict[str, float]:
    """Memory in MiB, now and at most, and threads of a process; empty where there is no /proc."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return {}
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    memory = {name: int(lines[key].split()[0]) / 1024 for name, key in _MEMORY.items()}
    return {**{name: round(mib, 1) for name, mib in memory.items()}, "threads": int(lines["Threads"])}


_MEMORY = {"resident_mib": "VmRSS", "peak_mib": "VmHWM"}


def _address(log: Path) -> str | None:
    found = re.search(r"listens on (http://\S+)", log.read_text())
    return None if found is None else found[1]


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health/ready", timeout=30) as answer:
            return int(answer.status) == 200
    except OSError:  # also a 503
        return False


def _wait_for(question: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Ask again until the answer is yes."""
    deadline = time.monotonic() + START_SECONDS
    while not question():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the service ended, or took longer than {START_SECONDS} seconds: {log.read_text()}")
        time.sleep(0.05)
