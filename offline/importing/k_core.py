"""The k-core of a log: what is left when users and items with too few interactions are left out, again and again."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from offline.importing.row_codes import RowCodes, Stretch


class KCore(NamedTuple):
    """Who is in the core."""

    users: npt.NDArray[np.bool_]  # [num_users]
    items: npt.NDArray[np.bool_]  # [num_items]
    rounds: int  # passes over the log until nothing changed

    def has(self, rows: Stretch) -> npt.NDArray[np.bool_]:
        """Which rows are between a user and an item of the core."""
        return self.users[rows.users] & self.items[rows.items]


def k_core(rows: RowCodes, *, least_of_user: int, least_of_item: int) -> KCore:
    """Find the largest part of a log in which every user and every item has enough interactions.

    Interactions are rows: three purchases of one item count three times, as in RecBole and the published 5-cores. In
    memory are two numbers per user and item and one stretch of rows; each round reads the numbers on disk once.

    Args:
        rows: the log.
        least_of_user: interactions, at least 1.
        least_of_item: interactions, at least 1.
    """
    users, items = np.ones(rows.num_users, bool), np.ones(rows.num_items, bool)
    rounds = 0
    while True:
        rounds += 1
        of_users, of_items = np.zeros(rows.num_users, np.int64), np.zeros(rows.num_items, np.int64)
        for part in rows.stretches():
            inside = users[part.users] & items[part.items]
            of_users += np.bincount(part.users[inside], minlength=rows.num_users)
            of_items += np.bincount(part.items[inside], minlength=rows.num_items)
        left_users, left_items = of_users >= least_of_user, of_items >= least_of_item
        if (left_users == users).all() and (left_items == items).all():
            return KCore(users, items, rounds)
        users, items = left_users, left_items
