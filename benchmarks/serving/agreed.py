"""What the service, the load and the bare decoder agree on; it imports nothing, for every turn starts a load anew.

The service has the first core; Redis and the load have the others. On a machine with one core all share it, and the
report says so.
"""

import os
from collections.abc import Sequence

HISTORY = 20
USERS = 1_000
API_KEY = "benchmark-key-of-a-sensible-length"
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
SERVICE_CORE, OTHER_CORES = CORES[0], CORES[1:] or CORES


def on_core(core: int | Sequence[int]) -> None:
    """Keep this process, or one that it is about to become, to cores; nothing where the system cannot."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core} if isinstance(core, int) else set(core))


def item_id(row: int) -> str:
    """The id of an item row."""
    return f"item-{row}"


def user_id(user: int) -> str:
    """The id of a user."""
    return f"user-{user}"
