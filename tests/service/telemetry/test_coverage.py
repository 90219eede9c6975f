"""Distinct items of the last hour, beside a slow reference that remembers every answer."""

from hypothesis import given
from hypothesis import strategies as st

from service.telemetry.coverage import WINDOW_SECONDS, Coverage, Covered

NUM_ITEMS = 6
HALF = WINDOW_SECONDS / 2
answers = st.lists(
    st.tuples(st.floats(0, WINDOW_SECONDS, allow_subnormal=False), st.lists(st.integers(0, NUM_ITEMS - 1), max_size=3)),
    max_size=15,
)


@given(answers)
def test_an_item_counts_for_half_a_window_at_least_and_a_window_at_most(told: list[tuple[float, list[int]]]) -> None:
    now, last = 0.0, dict[int, float]()
    coverage = Coverage(lambda: now)
    for wait, rows in told:
        now += wait
        coverage.returned("v1", NUM_ITEMS, rows)
        last |= dict.fromkeys(rows, now)
        found = coverage.covered()[0]
        surely = sum(now - at < HALF for at in last.values())
        possibly = sum(now - at <= WINDOW_SECONDS for at in last.values())
        assert surely <= found.items <= possibly
        assert (found.release, found.num_items) == ("v1", NUM_ITEMS)


def test_after_a_quiet_window_nothing_is_left() -> None:
    now = 0.0
    coverage = Coverage(lambda: now)
    coverage.returned("v1", 3, [0, 1])
    now = 3 * WINDOW_SECONDS
    assert coverage.covered() == []


def test_two_arms_are_counted_apart_and_a_third_release_replaces_the_oldest() -> None:
    coverage = Coverage(lambda: 0.0)
    coverage.returned("v1", 3, [0])
    coverage.returned("v2", 4, [1, 2])
    coverage.returned("v1", 3, [0, 2])
    assert coverage.covered() == [Covered("v1", 2, 3), Covered("v2", 2, 4)]
    coverage.returned("v3", 5, [4])
    assert coverage.covered() == [Covered("v2", 2, 4), Covered("v3", 1, 5)]
