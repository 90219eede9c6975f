"""One job at a time in a folder, on systems that have such locks (not Windows)."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from offline.errors import LockedError


@contextmanager
def locked_folder(folder: Path, busy: str) -> Iterator[None]:
    """Hold a folder that exists; the lock ends with the process.

    Args:
        folder: to be held; nothing is written into it.
        busy: what to say to whoever comes second, with the cure.

    Raises:
        LockedError: another process holds it.
        OSError: the folder cannot be opened.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    held = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedError(busy) from error
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(held)
