"""Which rows of a log of any size are held out: by global time, or the last two of every user."""

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from offline.errors import BadInputError
from offline.importing.row_codes import RowCodes, TimeArray
from offline.splits import SPLITS, TEST, TRAIN, VALID, first_of_each_pair, leave_one_out

BLOCK_ROWS: Final = 1_000_000
"""Rows of some users that are sorted together."""
REPEATED: Final = len(SPLITS)
"""Code of a row whose user had the item before: a computed split counts each pair once (offline.splits)."""

_BUCKETS: Final = 1 << 16

CodeArray = npt.NDArray[np.int8]
IntArray = npt.NDArray[np.int64]
Times = Callable[[], Iterable[TimeArray]]
"""Gives the times of all rows, some at a time, as often as it is called."""


class TimeCuts(NamedTuple):
    """Where the splits begin, milliseconds: valid from `valid` on, test from `test` on."""

    valid: int
    test: int

    def codes(self, times: TimeArray) -> CodeArray:
        """The split of every time."""
        codes = np.full(len(times), TRAIN, np.int8)
        codes[times >= self.valid] = VALID
        codes[times >= self.test] = TEST
        return codes


def time_cuts(times: Times, num_rows: int, *, valid_share: float, test_share: float) -> TimeCuts:
    """Cut a log at two moments, so that the newest rows are test and those before them valid.

    Rows of one moment stay together, in the later split, so a share is at least what was asked for. In memory are
    counts: the moments are found by counting rows in ever smaller spans of time.

    Args:
        times: of all rows.
        num_rows: how many they are, at least 1.
        valid_share: of the rows, above 0.
        test_share: of the rows, above 0.

    Raises:
        BadInputError: nothing would be left for one of the three.
    """
    low = min(int(part.min()) for part in times() if len(part))
    high = max(int(part.max()) for part in times() if len(part))
    test_rows = max(1, round(num_rows * test_share))
    valid_rows = max(1, round(num_rows * valid_share))
    test = value_at(times, num_rows - test_rows, low, high) if test_rows < num_rows else low
    before = sum(int((part < test).sum()) for part in times())
    valid = value_at(times, before - valid_rows, low, high) if valid_rows < before else low
    if valid <= low:
        raise BadInputError(
            f"--split time: with --valid-share {valid_share} and --test-share {test_share} of {num_rows} interactions "
            f"nothing is left to train on (times go from {low} to {high}, and rows of one moment stay together); "
            "take smaller shares, or --split leave-one-out"
        )
    return TimeCuts(valid, test)


def value_at(times: Times, place: int, low: int, high: int) -> int:
    """The value at a place (from 0) of the sorted times, which all lie in [low, high]; three passes for 35 years."""
    while low < high:
        width = (high - low) // _BUCKETS + 1
        counts = np.zeros(_BUCKETS, np.int64)
        for part in times():
            inside = part[(part >= low) & (part <= high)]
            counts += np.bincount((inside - low) // width, minlength=_BUCKETS)
        ends = np.cumsum(counts)
        bucket = int(np.searchsorted(ends, place, side="right"))
        place -= int(ends[bucket] - counts[bucket])
        low, high = low + bucket * width, min(high, low + (bucket + 1) * width - 1)
    return low


def leave_one_out_codes(rows: RowCodes, codes: CodeArray) -> None:
    """Hold out the last discovery of every user for test and the one before for valid, as `load_dataset` does.

    Equal times keep the order of the log. Users are taken in blocks, so that memory follows a block and not the log.

    Args:
        rows: with times.
        codes: [M] to be filled: the split of every row, or `REPEATED`.

    Raises:
        ValueError: there are no times.
    """
    for first, last in _blocks(rows):
        places, users, items, times = _of_users(rows, first, last)
        order = np.lexsort((times, users))  # stable: equal times keep the order of the log
        users, items = users[order], items[order]
        kept = first_of_each_pair(users, items)
        found = np.full(len(places), REPEATED, np.int8)
        found[kept] = leave_one_out(users[kept])
        codes[places[order]] = found


def _of_users(rows: RowCodes, first: int, last: int) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Place, user, item and time of the rows of a range of users.

    Raises:
        ValueError: there are no times.
    """
    found: list[tuple[IntArray, IntArray, IntArray, IntArray]] = []
    for part in rows.stretches():
        if part.times is None:
            raise ValueError("leave-one-out needs times")
        inside = np.flatnonzero((part.users >= first) & (part.users < last))
        users, items = part.users[inside].astype(np.int64), part.items[inside].astype(np.int64)
        found.append((part.start + inside, users, items, part.times[inside]))
    places, users, items, times = (np.concatenate(column) for column in zip(*found, strict=True))
    return places, users, items, times


def _blocks(rows: RowCodes) -> Iterator[tuple[int, int]]:
    """Ranges of users with about `BLOCK_ROWS` rows together; a user is never divided."""
    counts = np.zeros(rows.num_users, np.int64)
    for part in rows.stretches():
        counts += np.bincount(part.users, minlength=rows.num_users)
    block_of = (np.cumsum(counts) - counts) // BLOCK_ROWS
    edges = [0, *(np.flatnonzero(np.diff(block_of)) + 1).tolist(), rows.num_users]
    yield from pairwise(edges)
