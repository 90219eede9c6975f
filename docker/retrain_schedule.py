"""`python -m offline retrain` every day where no cron is: one process that waits, starts it, and says how it ended.

    python docker/retrain_schedule.py --at 03:00 -- --data /data --runs /runs
    python docker/retrain_schedule.py --healthy

Its exit codes decide what comes next (docs/operations.md): after 0, 3 and 4 the next day; after 1 (Redis or the disk
failed) another try, for the job goes on where it stopped; after 2 (what it was given cannot be used) the next day, and
`--healthy` says no until a run ends well. Every run leaves one JSON line on standard output behind the job's own.
SIGTERM goes to the job, which can be killed at any point, and ends this.
"""

import argparse
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

JOB = (sys.executable, "-m", "offline", "retrain")
DONE, FAILED, BAD_INPUT, REFUSED, LOCKED = 0, 1, 2, 3, 4
MEANINGS = {
    DONE: "published, or nothing new",
    FAILED: "failed",
    BAD_INPUT: "bad input",
    REFUSED: "refused by the gate",
    LOCKED: "another run is at it",
}
WELL = frozenset({DONE, REFUSED, LOCKED})
RETRIES = 3
RETRY_SECONDS = 900.0
STATE = Path("/tmp/retrain.json")  # the container's own
EXIT_UNHEALTHY = 1


def next_start(now: datetime, at: time) -> datetime:
    """The first moment after `now` at which the clock shows `at`; both in UTC."""
    today = datetime.combine(now.date(), at, tzinfo=UTC)
    return today if today > now else today + timedelta(days=1)


class Schedule:
    """Runs the job until it is told to end.

    Args:
        job: the whole command.
        at: time of day, UTC.
        state: file that `--healthy` reads.
        retry_seconds: between two tries of a run that failed.
    """

    def __init__(self, job: Sequence[str], at: time, state: Path, retry_seconds: float = RETRY_SECONDS) -> None:
        self._job = job
        self._at = at
        self._state = state
        self._retry_seconds = retry_seconds
        self._ended = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None

    def end(self, signal_number: int = signal.SIGTERM, _frame: FrameType | None = None) -> None:
        """A signal came: the job gets it too."""
        self._ended.set()
        if self._process is not None:
            self._process.send_signal(signal_number)

    def run_forever(self) -> None:
        """Wait and run, day after day."""
        while not self._ended.is_set():
            start = next_start(datetime.now(UTC), self._at)
            self._tell(waits_until=start.isoformat(timespec="seconds"))
            self._ended.wait((start - datetime.now(UTC)).total_seconds())
            self.run_once()

    def run_once(self) -> int | None:
        """One run with its retries; the last exit code, None where there was no run any more."""
        code = None
        for left in reversed(range(RETRIES + 1)):
            if self._ended.is_set():
                break
            code = self._start()
            again = code not in MEANINGS or code == FAILED
            tried_again = again and left > 0 and not self._ended.is_set()
            self._tell(exit_code=code, meaning=MEANINGS.get(code, "ended by a signal"), tries_again=tried_again)
            self._state.write_text(json.dumps({"exit_code": code}), encoding="utf-8")
            if not tried_again:
                break
            self._ended.wait(self._retry_seconds)
        return code

    def _start(self) -> int:
        with subprocess.Popen(self._job) as process:
            self._process = process
            if self._ended.is_set():  # the signal came between the two lines
                process.terminate()
            code = process.wait()
        self._process = None
        return code

    @staticmethod
    def _tell(**told: Any) -> None:
        line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "retrain_schedule": told}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def is_healthy(state: Path) -> bool:
    """Whether the last run ended well, or there was none yet."""
    return not state.exists() or json.loads(state.read_text(encoding="utf-8"))["exit_code"] in WELL


def _clock(text: str) -> time:
    try:
        return datetime.strptime(text, "%H:%M").time()  # a time of day
    except ValueError:
        why = f"{text!r} is no time of day: write hours and minutes in UTC, such as 03:00"
        raise argparse.ArgumentTypeError(why) from None


def main(arguments: Sequence[str] | None = None) -> int:
    """See above.

    Returns:
        0 once it was told to end; for `--healthy` 0 or 1.
    """
    parser = argparse.ArgumentParser(prog="retrain_schedule.py", allow_abbrev=False)
    parser.add_argument("--at", type=_clock, default="03:00", metavar="HH:MM", help="time of day in UTC (03:00)")
    parser.add_argument("--healthy", action="store_true", help="only say by the exit code whether all is well")
    parser.add_argument("job", nargs="*", help="after --: the flags of python -m offline retrain")
    given = parser.parse_args(arguments)
    if given.healthy:
        return 0 if is_healthy(STATE) else EXIT_UNHEALTHY
    schedule = Schedule((*JOB, *given.job), given.at, STATE)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, schedule.end)
    schedule.run_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
