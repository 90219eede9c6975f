"""How long a run of the decoder takes, as measured lately: what waits are predicted from."""

from math import inf

_WEIGHT = 0.2  # of a new measurement
_MOST_GROWTH = 2.0  # a run that a stall of the machine made a hundred times as long counts as twice as long
_NUM_SIZES = 11  # batches of 1, 2, 3 to 4, 5 to 8, ... 513 to 1024


class _Sizes:
    """Moving averages by batch size, and what they say of one another."""

    def __init__(self) -> None:
        self._measured = [0.0] * _NUM_SIZES
        self._measured_at = [-1] * _NUM_SIZES
        self._count = 0
        self.estimates = [0.0] * _NUM_SIZES

    def record(self, size: int, seconds: float) -> None:
        known = self._measured_at[size] >= 0
        before = self._measured[size] if known else seconds
        self._measured[size] += _WEIGHT * (min(seconds, _MOST_GROWTH * before) - before) if known else seconds
        self._measured_at[size] = self._count
        self._count += 1
        self.estimates = [self._estimate(size) for size in range(_NUM_SIZES)]

    def _estimate(self, size: int) -> float:
        """The average itself, or what more recent ones of other sizes allow, if that is less.

        A run takes no longer than a larger one, and one of twice the size no more than twice as long. Without this, a
        size that was slow once would be avoided, so never be measured again, and stay slow for good.
        """
        own_at = self._measured_at[size]
        least = self._measured[size] if own_at >= 0 else inf
        for other, (seconds, at) in enumerate(zip(self._measured, self._measured_at, strict=True)):
            if at > own_at:
                least = min(least, seconds * 2 ** max(0, size - other))
        return least


class RunTimes:
    """Seconds of a run by beam width and batch size.

    Written by the inference thread, read from any: a reader sees the averages before or after a measurement.
    """

    def __init__(self) -> None:
        self._by_width: dict[int, _Sizes] = {}

    def record(self, beam_width: int, batch: int, seconds: float) -> None:
        """Take a measurement."""
        if beam_width not in self._by_width:
            self._by_width[beam_width] = _Sizes()
        self._by_width[beam_width].record(_size_of(batch), seconds)

    def seconds(self, beam_width: int, batch: int) -> float:
        """What a run of `batch` requests will take; 0 while nothing of that beam width was measured."""
        sizes = self._by_width.get(beam_width)
        return 0.0 if sizes is None else sizes.estimates[_size_of(batch)]

    def largest_batch(self, beam_width: int, most: int, seconds: float) -> int:
        """The largest batch up to `most` whose run takes at most `seconds`; 1 if even that takes longer."""
        batch = most
        while batch > 1 and self.seconds(beam_width, batch) > seconds:
            batch = 1 << (_size_of(batch) - 1)  # the largest one of the size below
        return batch


def _size_of(batch: int) -> int:
    return min((batch - 1).bit_length(), _NUM_SIZES - 1)
