"""Which interactions are held out when a dataset does not say so itself.

Every function works on whole arrays, because a log has 1e7 rows and more. A split code is the position of the split's
name in `SPLITS`.
"""

from typing import Final, Literal

import numpy as np
import numpy.typing as npt

Split = Literal["train", "valid", "test"]
HeldOutSplit = Literal["valid", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "valid", "test")  # also the order in time
TRAIN, VALID, TEST = range(3)

MIN_INTERACTIONS_TO_HOLD_OUT: Final = 3
"""Users with fewer distinct items keep all of them in train: with two, nothing would be left to learn from."""

IntArray = npt.NDArray[np.int64]
CodeArray = npt.NDArray[np.int8]


def first_of_each_pair(users: IntArray, items: IntArray) -> IntArray:
    """Finds the first row of every (user, item) pair.

    A shop's log says view X, cart X, buy X. Held out as it stands, X would be history and target at once, and a target
    that the protocol leaves out of the ranking can never be hit. So a computed split counts each pair once, at the
    moment the user discovered the item, which is also what `/recommend` is asked for.

    Args:
        users: [M] user rows.
        items: [M] item rows.

    Returns:
        [P] row numbers, ascending, P <= M.
    """
    if not len(items):
        return np.empty(0, dtype=np.int64)
    pairs = users * (int(items.max()) + 1) + items
    return np.sort(np.unique(pairs, return_index=True)[1]).astype(np.int64, copy=False)


def leave_one_out(users: IntArray) -> CodeArray:
    """Holds out each user's last interaction for test and the one before for valid.

    Args:
        users: [M] user rows, sorted; oldest first within a user.

    Returns:
        [M] split codes. Users with fewer than `MIN_INTERACTIONS_TO_HOLD_OUT` rows stay in train.
    """
    counts = np.bincount(users)
    places_from_end = np.cumsum(counts)[users] - 1 - np.arange(len(users))
    return _held_out(places_from_end, (counts >= MIN_INTERACTIONS_TO_HOLD_OUT).astype(np.int64)[users])


def random_split(users: IntArray, items: IntArray, *, seed: int) -> CodeArray:
    """Holds out a random tenth of each user's items for test and another tenth for valid (8:1:1).

    A tenth is rounded to the nearest whole item and is at least one, so that users with 3 to 9 items are evaluated too.
    The draw belongs to the (user, item) pair: the same log in another file order gives the same split.

    Args:
        users: [M] user rows, sorted.
        items: [M] item rows, none twice for one user.
        seed: where the random numbers start.

    Returns:
        [M] split codes. Users with fewer than `MIN_INTERACTIONS_TO_HOLD_OUT` rows stay in train.
    """
    num_rows = len(users)
    draws = np.empty(num_rows)
    draws[np.lexsort((items, users))] = np.random.default_rng(seed).random(num_rows)
    counts = np.bincount(users)
    starts = np.cumsum(counts) - counts
    places = np.empty(num_rows, dtype=np.int64)
    places[np.lexsort((draws, users))] = np.arange(num_rows) - starts[users]
    tenths = np.maximum(1, (counts + 5) // 10)
    return _held_out(places, np.where(counts >= MIN_INTERACTIONS_TO_HOLD_OUT, tenths, 0)[users])


def _held_out(places: IntArray, sizes: IntArray) -> CodeArray:
    """Gives the first `sizes` places of a user to test, as many after them to valid, and the rest to train."""
    codes = np.full(len(places), TRAIN, dtype=np.int8)
    codes[places < 2 * sizes] = VALID
    codes[places < sizes] = TEST
    return codes
