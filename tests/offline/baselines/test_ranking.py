"""The one ranking against a slow reference: ties by item id, histories left out, users without a history."""

from collections.abc import Callable

import numpy as np
import pytest

from offline.baselines import ranking
from offline.baselines.peer import FloatArray, IntArray, Peer
from offline.baselines.ranking import rank_users, validation_quality
from offline.dataset import Dataset, Histories

MakeDataset = Callable[..., Dataset]
NUM_ITEMS = 130  # item-100 stands before item-11: rows are not in the order of ids


class FewLevels(Peer):
    """Scores with many ties, that depend on the user alone."""

    def __init__(self, levels: int) -> None:
        self.levels = levels

    def fit(self, dataset: Dataset, *, seed: int) -> None: ...

    def scores(self, histories: Histories, users: IntArray) -> FloatArray:
        return (np.outer(users + 1, np.arange(NUM_ITEMS) * 7 + 3) % self.levels).astype(np.float32)


@pytest.fixture
def world(make_dataset: MakeDataset) -> Dataset:
    random = np.random.default_rng(0)
    train = [random.permutation(NUM_ITEMS)[: 1 + 17 * user].tolist() for user in range(8)]
    test = [[int(np.setdiff1d(np.arange(NUM_ITEMS), items)[0])] for items in train]
    test[2] = []
    return make_dataset(train, [[]] * 8, test, num_items=NUM_ITEMS)


@pytest.mark.parametrize("levels", [1, 2, 5, 1000])
@pytest.mark.parametrize("score_bytes", [1, 3 * 4 * NUM_ITEMS, ranking.SCORE_BYTES])
def test_equals_the_slow_reference(
    world: Dataset, monkeypatch: pytest.MonkeyPatch, levels: int, score_bytes: int
) -> None:
    monkeypatch.setattr(ranking, "SCORE_BYTES", score_bytes)
    found = rank_users(FewLevels(levels), world, "test")
    assert found.users.tolist() == [0, 1, 3, 4, 5, 6, 7]  # user 2 has nothing held out
    for user, items, scores in zip(found.users, found.items, found.scores, strict=True):
        row = FewLevels(levels).scores(world.histories("test"), np.array([user]))[0]
        seen = world.histories("test").of(int(user)).tolist()
        rest = sorted((-row[item], world.item_ids[item], item) for item in range(NUM_ITEMS) if item not in seen)
        expected = [item for _, _, item in rest[:20]]
        assert items.tolist() == expected + [-1] * (20 - len(expected))
        assert scores[: len(expected)].tolist() == row[expected].tolist()


def test_users_can_be_sampled(world: Dataset) -> None:
    assert rank_users(FewLevels(5), world, "test", max_users=3).users.tolist() == [0, 4, 7]


def test_a_number_that_is_not_finite_is_an_error_of_the_peer(world: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FewLevels, "scores", lambda *_: np.full((8, NUM_ITEMS), np.nan, np.float32)[: len(_[2])])
    with pytest.raises(FloatingPointError, match="FewLevels scored an item with a number that is not finite"):
        rank_users(FewLevels(1), world, "test")


def test_without_a_history_the_most_popular_come(make_dataset: MakeDataset) -> None:
    made = make_dataset([[5, 6], [6, 7], []], [[]] * 3, [[9], [9], [9]], num_items=NUM_ITEMS)
    assert rank_users(FewLevels(5), made, "test").items[2, :3].tolist() == [6, 5, 7]


def test_quality_is_recall_plus_ndcg_on_validation(make_dataset: MakeDataset) -> None:
    made = make_dataset([[0]], [[1]], [[2]], num_items=NUM_ITEMS)
    order = np.argsort(np.asarray(made.item_ids, object), kind="stable")  # all tie at one level, so this is the list
    assert validation_quality(FewLevels(1), made) == pytest.approx(1 + 1 / np.log2(1 + order.tolist().index(1)))
