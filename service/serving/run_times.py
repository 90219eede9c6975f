"""How long a run of the decoder takes, as measured lately: what waits are predicted from."""

from math import inf

_WEIGHT = 0.2  # of a new measurement
_WEIGHT_BESIDE = 0.05  # the same, of one request among many of different kinds
_MOST_GROWTH = 2.0  # a run that a stall of the machine made a hundred times as long counts as twice as long


class _Sizes:
    """Moving averages by batch size, and what they say of one another."""

    def __init__(self) -> None:
        self._averages: dict[int, float] = {}  # the one measured last stands last
        self._estimates: dict[int, float] = {}

    def record(self, size: int, seconds: float) -> None:
        averages = dict(self._averages)
        before = averages.pop(size, None)
        if before is not None:
            seconds = before + _WEIGHT * (min(seconds, _MOST_GROWTH * before) - before)
        averages[size] = seconds
        self._averages, self._estimates = averages, {}  # replaced and not changed: other threads read them

    def has_timed(self, size: int) -> bool:
        return size in self._averages

    def estimate(self, size: int) -> float:
        """The average itself, or what more recent ones of other sizes allow, if that is less.

        A run takes no longer than a larger one, and one of twice the size no more than twice as long. Without this, a
        size that was slow once would be avoided, so never be measured again, and stay slow for good.
        """
        estimates = self._estimates
        if size not in estimates:
            least = inf
            for other, seconds in reversed(self._averages.items()):
                least = min(least, seconds * 2 ** max(0, size - other))
                if other == size:
                    break
            estimates[size] = least
        return estimates[size]


class RunTimes:
    """Seconds of a run by beam width and batch size.

    Written by the inference thread, read from any: a reader sees the averages before or after a measurement.
    """

    def __init__(self) -> None:
        self._by_width: dict[int, _Sizes] = {}
        self._known: dict[tuple[int, int], float] = {}  # answers since the last measurement

    def record(self, beam_width: int, batch: int, seconds: float) -> None:
        """Take a measurement."""
        sizes = self._by_width.get(beam_width) or _Sizes()
        sizes.record(_size_of(batch), seconds)
        self._by_width[beam_width] = sizes
        self._known = {}  # replaced, for others may be reading

    def has_timed(self, beam_width: int, batch: int) -> bool:
        """Whether a run of about that size was measured itself; other sizes allow an estimate at most."""
        sizes = self._by_width.get(beam_width)
        return sizes is not None and sizes.has_timed(_size_of(batch))

    def seconds(self, beam_width: int, batch: int) -> float:
        """What a run of `batch` requests will take; 0 while nothing of that beam width was measured."""
        known = self._known
        seconds = known.get((beam_width, batch))
        if seconds is None:
            sizes = self._by_width.get(beam_width)
            seconds = known[beam_width, batch] = 0.0 if sizes is None else sizes.estimate(_size_of(batch))
        return seconds

    def largest_batch(self, beam_width: int, most: int, seconds: float) -> int:
        """The largest batch up to `most` whose run takes at most `seconds`; 1 if even that takes longer."""
        batch = most
        while batch > 1 and self.seconds(beam_width, batch) > seconds:
            batch = 1 << (_size_of(batch) - 1)  # the largest one of the size below
        return batch


class WorkBeside:
    """What the inference thread does for requests outside of runs: explanations, popular items within a filter.

    Attributes:
        seconds: of a request, a moving average over all of them, most of which need nothing.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._since = 0.0

    def add(self, seconds: float) -> None:
        """Some work was done."""
        self._since += seconds

    def request_ended(self) -> None:
        """A request was answered, with or without such work."""
        self.seconds += _WEIGHT_BESIDE * (self._since - self.seconds)
        self._since = 0.0


def _size_of(batch: int) -> int:
    """Batches of 1, 2, 3 to 4, 5 to 8, ... count as equal."""
    return (batch - 1).bit_length()
