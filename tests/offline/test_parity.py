"""When two answers count as the same."""

import numpy as np
import pytest

from offline.parity import compare

LEAVES, SCORE = np.array([[3, 1, 2, -1]]), np.array([[3.0, 2.0, 1.0, -2e9]], np.float32)


def test_equal_answers_are_the_same() -> None:
    assert compare(LEAVES, SCORE, LEAVES, SCORE).same_lists == 1
    assert compare(LEAVES, SCORE, LEAVES, SCORE + np.float32(5e-5)).max_score_difference == pytest.approx(
        5e-5, abs=1e-6
    )


def test_ties_may_change_places() -> None:
    close = np.array([[3.0, 2.0, 2.000001, -2e9]], np.float32)
    assert compare(LEAVES, close, np.array([[3, 2, 1, -1]]), close).same_lists == 1


def test_other_places_and_other_items_are_not_the_same() -> None:
    swapped = compare(LEAVES, SCORE, np.array([[3, 2, 1, -1]]), SCORE)
    assert (swapped.same_lists, swapped.max_score_difference) == (0, 1.0)
    assert compare(LEAVES, SCORE, np.array([[3, 1, 4, -1]]), SCORE).same_lists == 0
