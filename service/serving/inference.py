"""The one thread that decodes: the event loop stays free, and the decoder is never called twice at once."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from service.serving.run_times import RunTimes

Result = TypeVar("Result")

NICENESS = 5
"""Of the thread, above that of the event loop: a third of its weight."""


class InferenceThread:
    """Owns every call of a decoder after its release has been loaded.

    Attributes:
        run_times: how long its runs take.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(
            max_workers=1, thread_name_prefix="inference", initializer=_yield_to_the_event_loop
        )
        self.run_times = RunTimes()

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call a function on the thread; what touches a decoder or its filters runs nowhere else."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """The same from another thread than the event loop's: call and wait."""
        return self._thread.submit(function, *arguments).result()

    def start(self, function: Callable[[], None]) -> None:
        """The same without waiting; the function reports what it finds, errors too.

        Raises:
            RuntimeError: the thread is closed.
        """
        self._thread.submit(function)

    def close(self) -> None:
        """Let the running decode end and drop the waiting ones."""
        self._thread.shutdown(wait=True, cancel_futures=True)


def _yield_to_the_event_loop() -> None:
    """Where both share a core, requests are read, refused and answered before the next run goes on.

    With equal shares an overloaded event loop falls behind by seconds while the decoder keeps its half of the core.
    """
    if sys.platform == "linux":  # elsewhere niceness belongs to the process
        niceness = os.getpriority(os.PRIO_PROCESS, os.getpid()) + NICENESS  # of the event loop: the main thread
        with suppress(OSError):  # a sandbox may forbid it, and nothing but speed depends on it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, niceness))
