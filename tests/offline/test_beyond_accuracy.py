"""Beyond accuracy against slow references, and answers that are known by eye."""

import math
from collections.abc import Callable, Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offline.beyond_accuracy import (
    average_recommendation_popularity,
    beyond_accuracy,
    catalogue_coverage,
    expected_calibration_error,
    exposure_gini,
    item_recall,
    list_calibration_error,
    novelty,
    user_recall,
)
from offline.dataset import Histories

MakeHistories = Callable[[Iterable[Iterable[int]]], Histories]
NUM_ITEMS, WIDTH = 9, 5

lists_strategy = st.lists(
    st.lists(st.integers(0, NUM_ITEMS - 1), unique=True, max_size=WIDTH), min_size=1, max_size=6
).filter(any)
held_out_strategy = st.lists(st.integers(0, NUM_ITEMS - 1), min_size=1, max_size=4)
counts_strategy = st.lists(st.integers(0, 9), min_size=NUM_ITEMS, max_size=NUM_ITEMS)


def padded(lists: list[list[int]]) -> np.ndarray:
    return np.array([items + [-1] * (WIDTH - len(items)) for items in lists])


def mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)


@settings(deadline=None, max_examples=100)
@given(lists=lists_strategy, counts=counts_strategy)
def test_measures_of_lists_equal_the_slow_reference(lists: list[list[int]], counts: list[int]) -> None:
    ranking, train_counts = padded(lists), np.array(counts)
    shown = [item for items in lists for item in items]
    exposure = [shown.count(item) for item in range(NUM_ITEMS)]
    assert catalogue_coverage(ranking, NUM_ITEMS) == len(set(shown)) / NUM_ITEMS
    # The Gini index as it is defined: half the mean difference between any two, by the mean; times n / (n - 1).
    differences = sum(abs(a - b) for a in exposure for b in exposure)
    expected = differences / (2 * NUM_ITEMS * sum(exposure)) * NUM_ITEMS / (NUM_ITEMS - 1)
    assert exposure_gini(ranking, NUM_ITEMS) == pytest.approx(expected)
    popularity = mean(mean(counts[item] for item in items) for items in lists if items)
    assert average_recommendation_popularity(ranking, train_counts) == pytest.approx(popularity)
    bits = [-math.log2((count + 1) / (sum(counts) + NUM_ITEMS)) for count in counts]
    assert novelty(ranking, train_counts) == pytest.approx(
        mean(mean(bits[i] for i in items) for items in lists if items)
    )


@settings(deadline=None, max_examples=100)
@given(users=st.lists(st.tuples(lists_strategy, held_out_strategy), min_size=1, max_size=5), counts=counts_strategy)
def test_cold_recall_equals_the_slow_reference(make_histories: MakeHistories, users: list, counts: list[int]) -> None:
    lists, held_out = [ranked[0] for ranked, _ in users], [wanted for _, wanted in users]
    ranking, targets, rows = padded(lists), make_histories(held_out), np.arange(len(users))
    cold = [{item for item in wanted if 1 <= counts[item] <= 4} for wanted in held_out]
    found = [len(wanted & set(items)) / len(wanted) for items, wanted in zip(lists, cold, strict=True) if wanted]
    expected = pytest.approx(mean(found)) if found else None
    assert item_recall(ranking, rows, targets, np.array(counts), fewest=1, most=4) == expected
    user_counts = np.array(counts)[: len(users)]
    kept = [len(set(wanted) & set(items)) / len(set(wanted)) for items, wanted in zip(lists, held_out, strict=True)]
    kept = [recall for recall, count in zip(kept, user_counts, strict=True) if count <= 3]
    assert user_recall(ranking, rows, targets, user_counts, most=3) == (pytest.approx(mean(kept)) if kept else None)


def test_one_item_for_everyone_is_the_most_unequal() -> None:
    ranking = np.full((10, 1), 3)
    assert exposure_gini(ranking, NUM_ITEMS) == pytest.approx(1.0)
    assert catalogue_coverage(ranking, NUM_ITEMS) == 1 / NUM_ITEMS


def test_everything_equally_often_is_equal() -> None:
    ranking = np.stack([np.roll(np.arange(NUM_ITEMS), shift) for shift in range(3)])
    assert exposure_gini(ranking, NUM_ITEMS) == pytest.approx(0.0)
    assert catalogue_coverage(ranking, NUM_ITEMS) == 1.0


def test_an_item_that_a_quarter_had_carries_two_bits() -> None:
    """Counts 3 + 1 of 12 + 4 = a quarter; each of four equal items carries 2 bits."""
    assert novelty(np.array([[2, -1]]), np.array([3, 3, 3, 3])) == 2.0


def test_popularity_is_the_mean_of_lists_and_not_of_places() -> None:
    assert average_recommendation_popularity(np.array([[0, 0, 0], [1, -1, -1]]), np.array([10, 2])) == 6.0


def test_a_catalogue_of_one_item() -> None:
    assert exposure_gini(np.array([[0]]), 1) == 0.0


@pytest.mark.parametrize("measure", [average_recommendation_popularity, novelty])
def test_empty_lists_have_no_mean(measure: Callable[..., float]) -> None:
    with pytest.raises(ValueError, match="no list holds an item"):
        measure(np.full((2, 3), -1), np.ones(4, int))


def test_calibration_by_eye() -> None:
    """Ten times .2 with two hits and ten times .8 with eight: perfect. All hits: off by .8 and by .2."""
    probabilities = np.repeat([0.2, 0.8], 10)
    honest = np.concatenate([np.arange(10) < 2, np.arange(10) < 8]).astype(float)
    assert expected_calibration_error(probabilities, honest, num_bins=2) == pytest.approx(0.0)
    assert expected_calibration_error(probabilities, np.ones(20), num_bins=2) == pytest.approx(0.5)
    assert expected_calibration_error(probabilities, np.zeros(20), num_bins=1) == pytest.approx(0.5)


def test_small_probabilities_do_not_share_one_bin() -> None:
    """.001 that never comes true and .003 that comes true at .004: equal widths would call that perfect."""
    probabilities, outcomes = np.repeat([0.001, 0.003], 50), np.repeat([0.0, 0.004], 50)
    assert expected_calibration_error(probabilities, outcomes, num_bins=2) == pytest.approx(0.001)


def test_honest_draws_are_nearly_calibrated() -> None:
    random = np.random.default_rng(0)
    probabilities = random.random(50_000)
    outcomes = (random.random(50_000) < probabilities).astype(float)
    assert expected_calibration_error(probabilities, outcomes) < 0.01
    assert expected_calibration_error(probabilities**2, outcomes) > 0.1


@pytest.mark.parametrize(("probabilities", "outcomes"), [([], []), ([0.5], [1.0, 0.0])])
def test_predictions_without_outcomes_are_refused(probabilities: list[float], outcomes: list[float]) -> None:
    with pytest.raises(ValueError, match="give one each, at least one"):
        expected_calibration_error(np.array(probabilities), np.array(outcomes))


def test_a_hit_counts_as_its_share_of_the_held_out_items(make_histories: MakeHistories) -> None:
    """Two held-out items, each promised one half; dead slots say nothing."""
    ranking, log_probs = np.array([[4, 5, -1]]), np.log([[0.5, 0.5, 1.0]])
    assert list_calibration_error(ranking, log_probs, np.array([0]), make_histories([[5, 4]])) == pytest.approx(0.0)
    assert list_calibration_error(ranking, log_probs, np.array([0]), make_histories([[7]])) == pytest.approx(0.5)


def test_items_without_a_log_probability_claim_nothing(make_histories: MakeHistories, make_dataset) -> None:
    """As the popular items that a user without a history is served."""
    ranking, log_probs = np.array([[4, 5], [6, 7]]), np.log([[0.5, 0.5], [np.nan, np.nan]])
    targets = make_histories([[5, 4], [0]])
    assert list_calibration_error(ranking, log_probs, np.array([0, 1]), targets) == pytest.approx(0.0)
    dataset = make_dataset([[1], [1]], [[], []], [[5, 4], [0]], num_items=8)
    nobody = beyond_accuracy(ranking, np.array([0, 1]), dataset, targets, np.full((2, 2), np.nan))
    assert (nobody["calibration_error@20"], nobody["coverage@20"]) == (None, 0.5)


def test_cold_recall_by_eye(make_histories: MakeHistories) -> None:
    """User 0 holds out cold item 1 (found) and warm item 0 (missed); user 1 holds out a cold item that is missed."""
    ranking, users = np.array([[1, 5], [5, 0]]), np.array([0, 2])
    targets, counts = make_histories([[0, 1], [3], [2]]), np.array([50, 5, 0, 0, 9, 9])
    assert item_recall(ranking, users, targets, counts, most=5) == 0.5
    assert item_recall(ranking, users, targets, counts, fewest=1, most=5) == 1.0
    assert item_recall(ranking, users, targets, counts, fewest=6, most=9) is None
    assert user_recall(ranking, users, targets, np.array([3, 1, 4]), most=3) == 0.5
    assert user_recall(ranking, users, targets, np.array([3, 1, 4]), fewest=4, most=9) == 0.0
    assert user_recall(ranking, users, targets, np.array([9, 1, 9]), most=3) is None


def test_all_of_them_at_once(make_dataset) -> None:
    """Twenty of 25 columns count; nothing to measure is None."""
    dataset = make_dataset([[0, 1], [2]], [[], []], [[30], [31]], num_items=40)
    ranking = np.stack([np.arange(5, 30), np.arange(5, 30)])
    found = beyond_accuracy(ranking, np.array([0, 1]), dataset, dataset.targets("test"))
    assert found["coverage@20"] == 0.5
    assert found["popularity@20"] == 0.0
    assert (found["cold_item_recall@20"], found["cold_user_recall@20"]) == (0.0, 0.0)
    assert found["calibration_error@20"] is None
    empty = beyond_accuracy(np.full((2, 20), -1), np.array([0, 1]), dataset, dataset.targets("test"))
    assert (empty["coverage@20"], empty["gini@20"], empty["novelty@20"]) == (0.0, 0.0, None)
    certain = beyond_accuracy(ranking, np.array([0, 1]), dataset, dataset.targets("test"), np.zeros(ranking.shape))
    assert certain["calibration_error@20"] == 1.0
