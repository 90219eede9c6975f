"""What runs are predicted to take, from what they took."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.serving.run_times import RunTimes, WorkBeside

Measured = list[tuple[int, float]]
measurements = st.lists(st.tuples(st.integers(1, 1024), st.floats(1e-4, 10.0)), min_size=1, max_size=40)


def times_of(measured: Measured) -> RunTimes:
    times = RunTimes()
    for batch, seconds in measured:
        times.record(50, batch, seconds)
    return times


def test_nothing_is_known_before_the_first_run() -> None:
    times = RunTimes()
    assert times.seconds(50, 8) == 0
    assert times.largest_batch(50, 32, 0.1) == 32


def test_sizes_that_were_never_run_are_bounded_by_those_that_were() -> None:
    times = times_of([(4, 0.010)])
    assert [times.seconds(50, batch) for batch in (1, 3, 4, 8, 32)] == pytest.approx([0.01, 0.01, 0.01, 0.02, 0.08])
    assert times.seconds(20, 4) == 0  # another tier
    assert [times.has_timed(width, batch) for width, batch in ((50, 3), (50, 8), (20, 4))] == [True, False, False]


def test_a_batch_is_as_large_as_its_run_may_be_long() -> None:
    times = times_of([(1, 0.002), (32, 0.040), (16, 0.021), (8, 0.012)])
    for limit, expected in [(1.0, 32), (0.039, 16), (0.02, 8), (0.011, 4), (0.001, 1)]:
        assert times.largest_batch(50, 32, limit) == expected
    assert times.largest_batch(50, 20, 1.0) == 20


def test_one_stall_of_the_machine_changes_little() -> None:
    times = times_of([(8, 0.010)] * 20 + [(8, 30.0)])
    assert times.seconds(50, 8) <= 0.0121


def test_what_was_slow_for_a_while_is_used_again_when_others_are_fast() -> None:
    slow = times_of([(32, 0.03)] + [(32, 2.0)] * 60)
    assert slow.largest_batch(50, 32, 0.5) < 32
    for _ in range(10):
        slow.record(50, 16, 0.015)
    assert slow.largest_batch(50, 32, 0.5) == 32


@given(measurements)
def test_predictions_stay_within_what_was_measured(measured: Measured) -> None:
    times = times_of(measured)
    fastest, slowest = min(s for _, s in measured), max(s for _, s in measured)
    for batch in (1, 2, 5, 64, 1024):
        assert 0 < times.seconds(50, batch) <= slowest * 1024
    assert times.seconds(50, measured[-1][0]) <= slowest
    assert times.seconds(50, 1) >= fastest * 0.99
    assert 1 <= times.largest_batch(50, 32, 0.5) <= 32


def test_work_beside_is_an_average_over_all_requests() -> None:
    beside = WorkBeside()
    for _ in range(200):
        beside.request_ended()
    assert beside.seconds == 0
    for at in range(400):  # every second one needs 10 ms
        if at % 2:
            beside.add(0.01)
        beside.request_ended()
    assert 0.004 < beside.seconds < 0.006
