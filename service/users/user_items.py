"""What is known of one user."""

from typing import NamedTuple


class UserItems(NamedTuple):
    """Item ids of one user.

    Attributes:
        history: oldest first.
        seen: in no particular order; may hold more than the history, and ids that no release knows.
        stale: Redis cannot be read, and this is what it last said.
    """

    history: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()
    stale: bool = False
