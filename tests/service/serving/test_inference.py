"""The inference thread goes after the event loop, whatever the process may and may not do."""

import asyncio
import os
import subprocess
import sys
import threading

import pytest

from service.serving.inference import NICENESS, InferenceThread

linux = pytest.mark.skipif(sys.platform != "linux", reason="niceness belongs to a thread on Linux alone")

NICENESS_OF_BOTH = """
import os, threading
from service.serving.inference import InferenceThread
thread = InferenceThread()
print(os.getpriority(os.PRIO_PROCESS, 0))
print(thread.call(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())))
thread.close()
"""


@linux
@pytest.mark.parametrize("nice", [0, 10, 19])
def test_its_niceness_is_relative_to_that_of_the_process(nice: int) -> None:
    command = [sys.executable, "-c", NICENESS_OF_BOTH]
    done = subprocess.run(command, capture_output=True, text=True, check=True, preexec_fn=lambda: os.nice(nice))
    loop, thread = map(int, done.stdout.split())
    assert thread == min(19, loop + NICENESS)


@linux
def test_where_it_may_not_be_changed_the_thread_works(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", forbidden)
    thread = InferenceThread()
    assert thread.call(lambda: 1) == 1
    thread.close()


def test_all_calls_run_on_one_thread() -> None:
    thread = InferenceThread()
    names = {thread.call(lambda: threading.current_thread().name) for _ in range(3)}
    names.add(asyncio.run(thread.run(lambda: threading.current_thread().name)))
    assert len(names) == 1
    thread.close()
    with pytest.raises(RuntimeError):
        thread.start(lambda: None)
