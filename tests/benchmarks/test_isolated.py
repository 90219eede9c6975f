"""Work in a process of its own: its result, its errors, and its end."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.scoring.isolated import isolated
from offline.errors import JobError

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 30.0


def test_results_come_back_from_another_process() -> None:
    assert isolated(os.getpid) != os.getpid()


def test_errors_come_back_as_they_are() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        isolated(int, "no number")


def test_a_process_that_is_killed_is_a_job_that_failed() -> None:
    with pytest.raises(JobError, match=r"the process of _exit was killed, most likely because memory ran out"):
        isolated(os._exit, 9)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
def test_the_work_ends_with_a_killed_benchmark(tmp_path: Path) -> None:
    """Else the next call would find the run locked by a process that nobody waits for."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys\n"
        "from benchmarks.scoring.isolated import isolated\n"
        "if __name__ == '__main__':\n"
        f"    isolated(os.system, 'echo $PPID > {tmp_path}/started; mv {tmp_path}/started {tmp_path}/pid; sleep 9')\n"
    )
    benchmark = subprocess.Popen([sys.executable, program], env={**os.environ, "PYTHONPATH": str(ROOT)})
    written = tmp_path / "pid"
    wait_until(written.exists)
    worker = Path("/proc", written.read_text().strip())
    assert worker.exists()
    benchmark.kill()
    benchmark.wait()
    wait_until(lambda: is_gone(worker))


def is_gone(process: Path) -> bool:
    try:
        return ") Z " in (process / "stat").read_text()  # ended, and nobody has asked for its status
    except OSError:
        return True


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
