"""Work in a process of its own, so that its peak memory is that of the work and not of what was done before."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import ParamSpec, TypeVar

from offline.errors import JobError

P = ParamSpec("P")
R = TypeVar("R")


def isolated(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What `function` returns (or raises) in a fresh process; it has to be a function of a module.

    Raises:
        JobError: the process was killed.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_end_with_parent) as pool:
        try:
            return pool.submit(function, *args, **kwargs).result()
        except BrokenProcessPool as error:
            raise JobError(
                f"the process of {function.__name__} was killed, most likely because memory ran out; what it had "
                "finished is kept: call the same again on a machine with more memory"
            ) from error


def _end_with_parent() -> None:
    """A killed benchmark leaves nobody who goes on training and keeps the lock of the run."""
    threading.Thread(target=_exit_after_parent, daemon=True).start()


def _exit_after_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
