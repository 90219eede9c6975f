"""One job at a time in a folder, on systems that have such locks (not Windows)."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from offline.errors import LockedError

LOOK_AGAIN_SECONDS = 0.2


@contextmanager
def locked_folder(
    folder: Path, busy: str, *, wait_seconds: float = 0.0, waiting: Callable[[], object] = lambda: None
) -> Iterator[None]:
    """Hold a folder that exists; the lock ends with the process.

    Args:
        folder: to be held; nothing is written into it.
        busy: what to say to whoever comes second, with the cure.
        wait_seconds: for who holds it, before that is said.
        waiting: called once, when the wait begins.

    Raises:
        LockedError: another process holds it, and longer than that.
        OSError: the folder cannot be opened.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    held = os.open(folder, os.O_RDONLY)
    try:
        until, waits = time.monotonic() + wait_seconds, False
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= until:
                    raise LockedError(busy) from error
            except OSError:  # a file system without locks
                break
            if not waits:
                waiting()
            waits = True
            time.sleep(LOOK_AGAIN_SECONDS)
        yield
    finally:
        os.close(held)
