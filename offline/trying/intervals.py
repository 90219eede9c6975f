"""95 % intervals of means over users that stay honest with few users and with many zeros.

The normal interval of twenty users who all have a recall of 0 is [0, 0], which nobody should believe. Both functions
add a few made-up users first, half of them at each end of what is possible; among thousands these count for nothing.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

NORMAL_95 = 1.96


class Interval(NamedTuple):
    """A mean, and between what bounds the true one lies in 95 of 100 such samples of users."""

    mean: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of what lies between the bounds."""
        return (self.high - self.low) / 2


def mean_interval(values: FloatArray, *, largest: float = 1.0) -> Interval:
    """Of values [U] between 0 and `largest`, U at least 1.

    Two users more at 0 and two at `largest` (Agresti & Coull 1998, "add two successes and two failures").
    """
    found = _interval(values, np.array([0.0, 0.0, largest, largest]), np.ones(4))
    return found._replace(low=max(found.low, 0.0), high=min(found.high, largest))


def difference_interval(gains: FloatArray, *, largest: float = 1.0) -> Interval:
    """Of differences [U] of the same users, between -`largest` and `largest`, U at least 1: the paired interval.

    Half a user more at each end and one without a difference (Agresti & Min 2005).
    """
    found = _interval(gains, np.array([-largest, 0.0, largest]), np.array([0.5, 1.0, 0.5]))
    return found._replace(low=max(found.low, -largest), high=min(found.high, largest))


def _interval(values: FloatArray, made_up: FloatArray, weights: FloatArray) -> Interval:
    if not len(values):
        raise ValueError("an interval needs at least one user")
    count = len(values) + weights.sum()
    centre = (values.sum() + weights @ made_up) / count
    spread = ((values - centre) ** 2).sum() + weights @ (made_up - centre) ** 2
    half = NORMAL_95 * np.sqrt(spread / count / count)
    mean = float(values.mean())
    return Interval(mean, min(float(centre - half), mean), max(float(centre + half), mean))
