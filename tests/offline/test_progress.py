"""Long work shows a bar where there is a terminal and plain lines where there is none, always on standard error."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from offline import progress

ROOT = Path(__file__).parents[2]
WORK = """
from offline import progress
with progress.task("learn shapes", 3) as task:
    for step in range(3):
        task.advance(f"loss {step}.5")
progress.say("a line")
print("the result")
"""


def test_without_a_terminal_the_last_step_is_a_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.task("learn", 3) as task:
        for step in range(3):
            task.advance(f"loss {step}")
    assert capsys.readouterr() == ("", "learn: 3/3 loss 2 (0 s)\n")


def test_lines_come_at_intervals(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_INTERVAL_SECONDS", 0.0)
    with progress.task("learn", 10) as task:
        task.advance(steps=4)
        task.advance(steps=6)
    assert re.sub(r"\(\d+ s\)", "", capsys.readouterr().err).split("\n") == ["learn: 4/10  ", "learn: 10/10  ", ""]


def test_work_that_is_cut_short_claims_no_end(capsys: pytest.CaptureFixture[str]) -> None:
    def die_at_the_second_step() -> None:
        with progress.task("learn", 3) as task:
            task.advance()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        die_at_the_second_step()
    assert capsys.readouterr().err == ""


def test_plain_lines_in_a_pipe() -> None:
    done = subprocess.run([sys.executable, "-c", WORK], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "the result\n"
    assert done.stderr == "learn shapes: 3/3 loss 2.5 (0 s)\na line\n"


def test_a_bar_on_a_terminal() -> None:
    pty = pytest.importorskip("pty", reason="no pseudo-terminals on this system")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    command = [sys.executable, "-c", WORK]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        while chunk := _read(ours):
            shown += chunk
        assert process.stdout is not None
        assert process.stdout.read() == b"the result\n"
    os.close(ours)
    text = shown.decode()
    assert process.returncode == 0
    assert "━" in text
    assert "\x1b[" in text
    assert "learn shapes" in text
    assert "3/3" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert "(0 s)" not in text


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux says the end of a terminal with EIO
        return b""
