"""Recall and NDCG against a slow reference, and cases that can be checked by eye."""

import math
from collections.abc import Callable, Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offline.dataset import Histories
from offline.metrics import hits, metrics_by_user, preferred, ranking_metrics

MakeHistories = Callable[[Iterable[Iterable[int]]], Histories]
NUM_ITEMS = 12
CUTOFFS = (1, 3, 6)

# Per user: a ranking of distinct items, and at least one held-out item (repeats allowed: a given split may have them).
users_strategy = st.lists(
    st.tuples(
        st.lists(st.integers(0, NUM_ITEMS - 1), unique=True, max_size=6),
        st.lists(st.integers(0, NUM_ITEMS - 1), min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=6,
)


def slow_recall(ranked: list[int], wanted: set[int], cutoff: int) -> float:
    return sum(item in wanted for item in ranked[:cutoff]) / len(wanted)


def slow_ndcg(ranked: list[int], wanted: set[int], cutoff: int) -> float:
    gain = sum(1 / math.log2(rank + 1) for rank, item in enumerate(ranked[:cutoff], 1) if item in wanted)
    return gain / sum(1 / math.log2(rank + 1) for rank in range(1, min(len(wanted), cutoff) + 1))


@settings(deadline=None, max_examples=150)
@given(lists=users_strategy)
def test_equals_the_slow_reference(make_histories: MakeHistories, lists: list[tuple[list[int], list[int]]]) -> None:
    ranking = np.array([ranked + [-1] * (6 - len(ranked)) for ranked, _ in lists])
    targets = make_histories(held_out for _, held_out in lists)
    found = ranking_metrics(ranking, np.arange(len(lists)), targets, CUTOFFS)
    for cutoff in CUTOFFS:
        recalls = [slow_recall(ranked, set(held_out), cutoff) for ranked, held_out in lists]
        ndcgs = [slow_ndcg(ranked, set(held_out), cutoff) for ranked, held_out in lists]
        assert found[f"recall@{cutoff}"] == pytest.approx(np.mean(recalls))
        assert found[f"ndcg@{cutoff}"] == pytest.approx(np.mean(ndcgs))


def test_one_user_by_eye(make_histories: MakeHistories) -> None:
    found = ranking_metrics(np.array([[7, 5, 3, 9]]), np.array([0]), make_histories([[3, 7, 8]]), (1, 2, 4))
    assert found["recall@1"] == pytest.approx(1 / 3)
    assert found["recall@2"] == pytest.approx(1 / 3)
    assert found["recall@4"] == pytest.approx(2 / 3)
    assert found["ndcg@1"] == 1.0
    assert found["ndcg@4"] == pytest.approx((1 + 1 / 2) / (1 + 1 / math.log2(3) + 1 / 2))


def test_more_held_out_items_than_the_cutoff(make_histories: MakeHistories) -> None:
    """Recall divides by all held-out items, NDCG by the best that a list of that length could do."""
    found = ranking_metrics(np.array([[0, 1]]), np.array([0]), make_histories([[0, 1, 2, 3]]), (2,))
    assert found == {"recall@2": 0.5, "ndcg@2": 1.0}


def test_only_the_named_users_count(make_histories: MakeHistories) -> None:
    targets = make_histories([[4], [], [5]])
    found = ranking_metrics(np.array([[5, 4], [4, 5]]), np.array([2, 0]), targets, (1,))
    assert found == {"recall@1": 1.0, "ndcg@1": 1.0}
    assert ranking_metrics(np.array([[4], [4]]), np.array([2, 0]), targets, (1,))["recall@1"] == 0.5


def test_the_end_of_a_list_is_no_hit(make_histories: MakeHistories) -> None:
    """-1 of user 1 must not be taken for the last item of user 0."""
    targets = make_histories([[9], [0]])
    assert not hits(np.array([[-1], [-1]]), np.array([0, 1]), targets).any()


def test_a_ranked_item_beyond_every_target_is_no_hit_of_the_next_user(make_histories: MakeHistories) -> None:
    assert not hits(np.array([[2]]), np.array([0]), make_histories([[1], [0]])).any()


def test_a_user_without_held_out_items_is_refused(make_histories: MakeHistories) -> None:
    with pytest.raises(ValueError, match="needs a held-out item"):
        ranking_metrics(np.array([[1], [1]]), np.array([0, 1]), make_histories([[1], []]), (1,))


def test_no_user_at_all_is_refused(make_histories: MakeHistories) -> None:
    with pytest.raises(ValueError, match="needs a held-out item"):
        ranking_metrics(np.empty((0, 5), np.int64), np.empty(0, np.int64), make_histories([[1]]), (5,))


def test_lists_shorter_than_the_cutoff_are_refused(make_histories: MakeHistories) -> None:
    with pytest.raises(ValueError, match="hold 2 items a user, fewer than the cutoff 20"):
        ranking_metrics(np.array([[1, 2]]), np.array([0]), make_histories([[1]]))


STEADY, BETTER = np.full(30, 0.2), np.full(30, 0.3)
LUCKY = np.where(np.arange(30) == 0, 0.9, 0.2)
"""Better on the mean, by one user."""


def test_another_choice_has_to_be_clearly_better() -> None:
    assert preferred({1.0: STEADY}) == 1.0
    assert preferred({1.0: STEADY, 2.0: LUCKY, 3.0: STEADY}) == 1.0
    assert preferred({1.0: STEADY, 2.0: LUCKY, 3.0: BETTER}) == 3.0
    assert preferred({1.0: BETTER, 2.0: STEADY}) == 1.0
    assert preferred({1.0: STEADY, 2.0: BETTER, 3.0: BETTER + 0.1}) == 3.0


def test_two_standard_errors_by_hand() -> None:
    """Ten of a hundred users gain 1: the mean is .1, its standard error .03; three gain: .03 and .017."""
    gains = [np.where(np.arange(100) < count, 1.0, 0.0) for count in (10, 3)]
    assert preferred({1.0: np.zeros(100), 2.0: gains[0]}) == 2.0
    assert preferred({1.0: np.zeros(100), 2.0: gains[1]}) == 1.0


@pytest.mark.parametrize("count", [1, 2, 29])
def test_few_users_prove_nothing(count: int) -> None:
    """Neither by equal gains, whose deviation is 0, nor by large ones that differ."""
    assert preferred({40.0: np.full(count, 0.5), 2.0: np.full(count, 0.5001)}) == 40.0
    assert preferred({40.0: np.zeros(count), 2.0: np.linspace(0.9, 1.0, count)}) == 40.0


def test_thirty_users_prove_something_and_rounding_does_not() -> None:
    thirty = np.full(30, 0.3)
    assert preferred({40.0: thirty, 2.0: np.linspace(0.4, 0.5, 30)}) == 2.0
    assert preferred({40.0: thirty, 2.0: np.full(30, 0.1 + 0.2)}) == 40.0  # 0.30000000000000004


def test_the_metrics_of_users_have_the_means_that_are_reported(make_histories: MakeHistories) -> None:
    ranking, users = np.array([[0, 1, 2], [3, 4, 5]]), np.array([0, 2])
    targets = make_histories([[1, 7], [9], [3]])
    by_user = metrics_by_user(ranking, users, targets, (1, 3))
    assert by_user["recall@3"].tolist() == [0.5, 1.0]
    assert by_user["recall@1"].tolist() == [0.0, 1.0]
    assert {name: values.mean() for name, values in by_user.items()} == ranking_metrics(ranking, users, targets, (1, 3))
