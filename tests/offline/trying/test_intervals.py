"""Intervals against figures that can be worked out by hand, and against what samples really do."""

import numpy as np
import pytest

from offline.trying.intervals import difference_interval, mean_interval


def test_two_failures_and_two_successes_are_added() -> None:
    """8 of 16 with 2 of 4 more: 10 of 20, so the normal interval of a half among twenty."""
    found = mean_interval(np.repeat([0.0, 1.0], 8))
    assert found.mean == 0.5
    assert (found.low, found.high) == pytest.approx((0.5 - 1.96 * (0.25 / 20) ** 0.5, 0.5 + 1.96 * (0.25 / 20) ** 0.5))


def test_twenty_zeros_are_not_certainly_zero() -> None:
    found = mean_interval(np.zeros(20))
    assert (found.mean, found.low) == (0.0, 0.0)
    assert 0.1 < found.high < 0.25


def test_bounds_stay_where_values_can_be() -> None:
    assert mean_interval(np.ones(1)).high == 1.0
    assert difference_interval(np.full(2, -2.0), largest=2.0).low == -2.0


def test_made_up_users_count_for_nothing_among_many() -> None:
    values = np.random.default_rng(0).random(20_000)
    found = mean_interval(values)
    assert found.half_width == pytest.approx(1.96 * values.std() / 20_000**0.5, rel=0.01)


def test_a_pair_has_the_width_of_its_differences_alone() -> None:
    """Two methods that differ by a hundredth with everyone: clear, however much users differ."""
    assert difference_interval(np.full(2000, 0.01)).low > 0
    swinging = np.tile([1.0, -1.0], 1000) + 0.01
    assert difference_interval(swinging).low < 0


@pytest.mark.parametrize(("share", "users"), [(0.02, 40), (0.3, 40), (0.05, 500)])
def test_the_truth_lies_within_in_95_of_100_samples(share: float, users: int) -> None:
    random = np.random.default_rng(1)
    samples = [mean_interval((random.random(users) < share).astype(float)) for _ in range(1000)]
    inside = np.mean([found.low <= share <= found.high for found in samples])
    assert 0.93 < inside <= 1.0


def test_an_interval_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one user"):
        mean_interval(np.zeros(0))
