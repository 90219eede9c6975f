"""The schedule of retrain: when it starts, what every exit code leads to, and how it ends."""

import importlib.util
import json
import subprocess
import sys
from datetime import UTC, datetime, time
from pathlib import Path
from types import ModuleType

import pytest

from tests.docker.written import ROOT

PROGRAM = ROOT / "docker/retrain_schedule.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("retrain_schedule", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


schedule = load()


def job(tmp_path: Path, *codes: int) -> tuple[str, ...]:
    """A job that ends with one code after the other, and counts its runs."""
    program = (
        "import pathlib, sys; counter = pathlib.Path(sys.argv[1]); "
        "runs = int(counter.read_text()) if counter.exists() else 0; counter.write_text(str(runs + 1)); "
        "codes = sys.argv[2:]; sys.exit(int(codes[min(runs, len(codes) - 1)]))"
    )
    return (sys.executable, "-c", program, str(tmp_path / "runs"), *map(str, codes))


def runs(tmp_path: Path) -> int:
    return int((tmp_path / "runs").read_text())


@pytest.mark.parametrize(
    ("now", "at", "expected"),
    [
        ("2026-11-28T01:00:00", "03:00", "2026-11-28T03:00:00"),
        ("2026-11-28T03:00:00", "03:00", "2026-11-29T03:00:00"),
        ("2026-12-31T23:59:59", "00:00", "2027-01-01T00:00:00"),
    ],
)
def test_the_next_start_is_the_next_time_the_clock_shows_it(now: str, at: str, expected: str) -> None:
    found = schedule.next_start(datetime.fromisoformat(now).replace(tzinfo=UTC), time.fromisoformat(at))
    assert found == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("codes", "last", "count", "healthy"),
    [
        ((0,), 0, 1, True),
        ((3,), 3, 1, True),
        ((4,), 4, 1, True),
        ((2,), 2, 1, False),
        ((1, 0), 0, 2, True),
        ((1,), 1, 4, False),
        ((1, 2), 2, 2, False),
        ((77, 0), 0, 2, True),
    ],
)
def test_what_an_exit_code_leads_to(
    codes: tuple[int, ...], last: int, count: int, healthy: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only what may go better next time is tried again; refused and locked runs are no fault."""
    state = tmp_path / "state.json"
    assert schedule.is_healthy(state)
    runner = schedule.Schedule(job(tmp_path, *codes), time(3), state, retry_seconds=0.01)
    assert runner.run_once() == last
    assert runs(tmp_path) == count
    assert schedule.is_healthy(state) is healthy
    lines = [json.loads(line)["retrain_schedule"] for line in capsys.readouterr().out.splitlines()]
    assert [line["exit_code"] for line in lines][-1] == last
    assert [line["tries_again"] for line in lines] == [True] * (count - 1) + [False]


def test_a_job_that_is_killed_is_started_again(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, signal, sys; mark = pathlib.Path(sys.argv[1])\n"
        "if mark.exists(): sys.exit(0)\n"
        "mark.touch(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = (sys.executable, "-c", program, str(tmp_path / "mark"))
    assert schedule.Schedule(killed, time(3), tmp_path / "state", retry_seconds=0.01).run_once() == 0


def test_told_to_end_it_ends_at_once_and_the_job_with_it(tmp_path: Path) -> None:
    starter = (
        f"import sys; sys.path.insert(0, {str(PROGRAM.parent)!r}); import retrain_schedule, signal, pathlib, datetime; "
        "job = (sys.executable, '-c', 'import time; print(\"begun\", flush=True); time.sleep(60)'); "
        "it = retrain_schedule.Schedule(job, datetime.time(3), pathlib.Path(sys.argv[1])); "
        "signal.signal(signal.SIGTERM, it.end); it.run_once()"
    )
    command = [sys.executable, "-c", starter, str(tmp_path / "state")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.terminate()
        assert process.wait(timeout=20) == 0
        assert '"exit_code": -15' in process.stdout.read()


def test_while_it_waits_it_ends_at_once_too() -> None:
    at = f"{(datetime.now(UTC).hour + 12) % 24:02d}:00"
    command = [sys.executable, str(PROGRAM), "--at", at, "--", "--data", "x"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "waits_until" in process.stdout.readline()
        process.terminate()
        assert process.wait(timeout=20) == 0


@pytest.mark.parametrize("at", ["25:00", "3", "noon", ""])
def test_a_wrong_time_is_refused_with_an_example(at: str) -> None:
    done = subprocess.run([sys.executable, str(PROGRAM), "--at", at], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "such as 03:00" in done.stderr
