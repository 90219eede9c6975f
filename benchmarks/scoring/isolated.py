"""Work in a process of its own, so that its peak memory is that of the work and not of what was done before."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def isolated(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What `function` returns (or raises) in a fresh process; it has to be a function of a module."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_end_with_parent) as pool:
        return pool.submit(function, *args, **kwargs).result()


def _end_with_parent() -> None:
    """A killed benchmark leaves nobody who goes on training and keeps the lock of the run."""
    threading.Thread(target=_exit_after_parent, daemon=True).start()


def _exit_after_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
